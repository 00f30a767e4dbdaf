"""Measurements: what a message costs us, against what it costs others. ``python -m benchmarks.whole_send --help``."""
