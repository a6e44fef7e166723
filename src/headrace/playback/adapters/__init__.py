"""What touches the outside: the web server, the snapshot's file and lock, the geo-IP database, counters of workers."""
