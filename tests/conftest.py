"""Shared by all tests. Fixtures of one kind of server stand in ``tests/servers``."""
