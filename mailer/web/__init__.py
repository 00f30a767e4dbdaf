"""Floor 4: the web process."""
