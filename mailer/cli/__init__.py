"""Floor 4: the ``mailer`` command."""
