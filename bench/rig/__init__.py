"""What the benches of this folder share: a private network, processes whose CPU time is known, samples, summaries."""
