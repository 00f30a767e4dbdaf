"""mailer: the delivery worker that newsletter publishers run themselves."""

__version__ = "0.1.0"
