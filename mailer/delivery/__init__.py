"""Floor 1: delivery policy, pure: which moves a recipient's state may make, when to try again."""
