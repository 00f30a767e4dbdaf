"""Floor 1: the issue file: front matter, Markdown, blocks, expressions; and what is wrong with it."""
