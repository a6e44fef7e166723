"""How a missing file gets to an appliance: sources and their order."""
