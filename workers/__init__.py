"""Floor 4: the worker process. arq hands it jobs; ``mailer.service`` does the work."""
