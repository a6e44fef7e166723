"""What of the lab touches namespaces, processes, /proc and folders."""
