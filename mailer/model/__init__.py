"""Floor 0: frozen values, enums and ids that every other floor speaks in. No I/O, no clock, no randomness."""
