"""Titles, renditions and the immutable files they are made of."""
