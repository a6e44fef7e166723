"""The only code of the origin that touches disks, processes and sockets."""
