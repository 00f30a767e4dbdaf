"""Other senders, each a process of its own that sends so many messages and ends."""
