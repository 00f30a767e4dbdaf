"""Floor 1: from a parsed issue to a compiled one, pure: MJML is rendered by a function that is passed in."""
