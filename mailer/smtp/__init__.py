"""Floor 3: SMTP: connections to relays, and the capture that stands in for one."""
