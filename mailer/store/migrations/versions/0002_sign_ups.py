"""Requests to be subscribed that wait for their confirmation: see ``mailer.service.sign_up``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_ups",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False, index=True),
        sa.Column("first_name", sa.Text, nullable=False),
        sa.Column("referrer_id", sa.Integer),  # no foreign key: whoever is removed meanwhile is only not credited
        sa.Column("asked_at", sa.Double, nullable=False, index=True),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("due_at", sa.Double),  # of its mail; NULL: nothing is to be sent
        sa.Column("confirmed_at", sa.Double),
        sqlite_autoincrement=True,  # a number is in the link: it is never given to another request
    )
    due = sa.text("due_at IS NOT NULL")
    op.create_index("sign_ups_due", "sign_ups", ["due_at"], sqlite_where=due, postgresql_where=due)
