"""What the loops touch outside the store."""
