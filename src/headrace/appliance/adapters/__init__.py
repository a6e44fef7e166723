"""The only code of the appliance that touches disks, sockets, processes and databases."""
