"""A model world on the production decisions: faults at full load in seconds, without machines."""
