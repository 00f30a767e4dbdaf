"""The configuration that ``mailer init`` writes."""

from __future__ import annotations

CONFIG_TEXT = """\
# Configuration of mailer. Every key may also be an environment variable: MAILER_PUBLICATION__NAME, …
# A secret may stand in a file of its own: password = { file = "relay-password" }

[publication]
name = "My Newsletter"
from = "My Newsletter <newsletter@example.com>"
# reply_to = "editors@example.com"
# The sample issue is German, and so are these three; for an English letter: "en", "GB", "Europe/London".
language = "de"                     # how dates and numbers are written
country = "DE"                      # whose public holidays count
timezone = "Europe/Berlin"          # 'send --at' and dates go by it
base_url = "http://localhost:8000"  # where readers reach 'mailer web'; links in mail lead there
# postal_address = "My Newsletter, 1 Example Street, Exampletown"  # who publishes it: the foot of each issue
editors = []                        # who gets a test-send

# Without [store] and [redis]: SQLite and an embedded Redis in ./mailer-data.
# [store]
# url = "postgresql://mailer@localhost/mailer"
# [redis]
# url = "redis://localhost:6379/0"

# Without a relay, mail is captured as files in ./mailer-data and goes to nobody.
# [[relays]]
# host = "smtp.example.com"
# port = 587
# security = "starttls"             # or "tls" (port 465)
# username = "newsletter@example.com"
# password = { file = "relay-password" }
# rate = "14/s"

# [web]
# sign_ups_per_day = 1000           # mails that the form at /subscribe may cause; 0: there is no form

# [delivery]
# retry_for = "48h"                 # how long a 4xx is tried again
# freshness = "6h"                  # a send overdue by more is held, not fired
"""
