"""The first schema.

Times are Unix seconds. ``recipients`` is the ledger: a million rows a send, so its rows are small and its indexes few.
``open_epoch`` is the row's epoch while the row is unfinished, else NULL: the two partial indexes over it hold only
what is still to do, and a move that leaves it as it is (``claimed`` to ``dotted``) touches no index on PostgreSQL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UNFINISHED = "state IN ('pending', 'claimed', 'dotted', 'deferred')"


def upgrade() -> None:
    op.create_table(
        "subscribers",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False, unique=True),
        sa.Column("first_name", sa.Text, nullable=False, server_default=""),
        sa.Column("last_name", sa.Text, nullable=False, server_default=""),
        sa.Column("language", sa.Text, nullable=False, server_default=""),
        sa.Column("timezone", sa.Text, nullable=False, server_default=""),
        sa.Column("attributes", sa.Text, nullable=False, server_default="{}"),  # JSON object of texts
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("referrer_id", sa.Integer, sa.ForeignKey("subscribers.id", ondelete="SET NULL")),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("confirmed_at", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("unsubscribed_at", sa.Double),
        sqlite_autoincrement=True,  # an id is in links of old mails: it is never given to another person
    )
    has_referrer, has_left = sa.text("referrer_id IS NOT NULL"), sa.text("unsubscribed_at IS NOT NULL")
    op.create_index(
        "subscribers_referrer",
        "subscribers",
        ["referrer_id", "confirmed_at"],
        sqlite_where=has_referrer,
        postgresql_where=has_referrer,
    )
    op.create_index(
        "subscribers_unsubscribed",
        "subscribers",
        ["unsubscribed_at"],
        sqlite_where=has_left,
        postgresql_where=has_left,
    )
    op.create_table("attribute_names", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "suppressions",
        sa.Column("email_key", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "issues",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),  # zlib of the canonical JSON
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("beat_at", sa.Double, nullable=False),
        sa.Column("trouble", sa.Text, nullable=False, server_default=""),  # what hinders it, for people to read
        sa.Column("suspected_at", sa.Double),  # first found without a beat for a lease; a beat clears it
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sends",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("slug", sa.Text, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, index=True),
        sa.Column("artefact", sa.Text, nullable=False),
        sa.Column("audience", sa.Integer, nullable=False),
        sa.Column("subscribers", sa.Integer, nullable=False),  # of the whole list, whatever part the audience is
        sa.Column("date", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("scheduled_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),  # of workers, while it ran
        sqlite_autoincrement=True,
    )
    op.create_table(
        "recipients",
        sa.Column("send", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        # No foreign key: a million checks while a send is queued. A row without its person is skipped.
        sa.Column("subscriber", sa.Integer),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("address_key", sa.Text),  # test-sends only; else it is the subscriber's
        sa.Column("persona", sa.Text),  # test-sends only: the subscriber the message is personalised for, as JSON
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("worker", sa.Integer),
        sa.Column("attempts", sa.SmallInteger, nullable=False),
        sa.Column("first_attempt_at", sa.Double),
        sa.Column("next_attempt_at", sa.Double),
        sa.Column("code", sa.SmallInteger),
        sa.Column("status", sa.Text),
        sa.Column("reply", sa.Text),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column(
            "open_epoch",
            sa.Integer,
            sa.Computed(f"CASE WHEN {UNFINISHED} THEN epoch END", persisted=op.get_bind().dialect.name != "sqlite"),
        ),
        sqlite_with_rowid=False,
        # Room in each page for the next version of its rows.
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("recipients_subscriber", "recipients", ["send", "subscriber"], unique=True)
    unfinished, touched = sa.text("open_epoch IS NOT NULL"), sa.text("open_epoch > 0")
    op.create_index(
        "recipients_unfinished",
        "recipients",
        ["send", "position"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    # Claimed at least once and not finished: few at any moment. What reap, expire and pause look through.
    op.create_index(
        "recipients_touched", "recipients", ["send", "position"], sqlite_where=touched, postgresql_where=touched
    )


def downgrade() -> None:
    raise NotImplementedError("a store isn't taken back to an older schema: restore a backup")
