"""Where mail that came back waits: a Maildir, or a mailbox behind IMAP."""
