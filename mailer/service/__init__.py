"""Floor 2: the use cases. They speak to the world through ``ports`` only."""
