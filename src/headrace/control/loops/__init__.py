"""The loops of the control plane: probe, conclude, plan, compile. One lease-holder among the control nodes decides."""
