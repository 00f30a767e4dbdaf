"""Floor 3: MJML to HTML (mjml-python) and CSS inlining (premailer), right where their defaults are wrong."""
