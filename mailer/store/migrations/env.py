"""Run by Alembic for each migration; the connection and its transaction are ``mailer.store.schema``'s."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
