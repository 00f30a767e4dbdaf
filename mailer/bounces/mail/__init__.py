"""Reads the mails that come back: delivery reports, complaints, plain-text bounces, automatic replies."""
