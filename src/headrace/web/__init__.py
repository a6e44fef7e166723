"""Pages: the fleet and a player."""
