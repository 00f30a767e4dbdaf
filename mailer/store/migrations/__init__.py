"""Alembic's: the schema, one step a file."""
