"""What is remembered of people who were removed: see ``mailer.store.removed``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "removed_subscribers",
        sa.Column("address_hash", sa.Text, primary_key=True),
        sa.Column("id", sa.Integer, nullable=False, index=True),
        sa.Column("unsubscribed_at", sa.Double),
    )
