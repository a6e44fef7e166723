"""The agent on a cache server: disks, fill, nginx, access log, report and converge."""
