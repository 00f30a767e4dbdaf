"""Floor 1: bytes, pure: MIME frozen once and spliced for each recipient, headers, tokens in links, SMTP replies."""
