"""Put a candidate through the levels in the lab, against its baseline: what is run, measured and kept."""
