"""Which appliances a client should use for a title, ranked, and why not the others. Pure decisions."""
