"""Floor 3: Redis: arq wakes workers, shared rates, the embedded server. It may lose everything at any moment."""
