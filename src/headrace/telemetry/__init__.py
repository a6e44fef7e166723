"""Access-log records, CMCD and windows of counters."""
