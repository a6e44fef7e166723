"""Which appliance should hold which file."""
