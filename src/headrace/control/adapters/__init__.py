"""What the control plane touches: its database."""
