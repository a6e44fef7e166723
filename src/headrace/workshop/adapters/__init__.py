"""The only code of the workshop that touches processes and disks."""
