"""The first schema.

Times are Unix seconds. ``recipients`` is the ledger: a million rows a send, so its rows are small and its indexes few.
``open_epoch`` is the row's epoch while the row is unfinished, else NULL: the two partial indexes over it hold only
what is still to do, and a move that leaves it as it is (``claimed`` to ``dotted``) touches no index on PostgreSQL.
``lost_at`` is when the row fell in doubt, as long as it is; the rows that never do touch no index for it.
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
        sa.Column("destination", sa.Text, nullable=False),  # see mailer.delivery.destination
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
        sa.Column("paused_until", sa.Double),  # no send that begins before
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
        sa.Column("complaints_weighed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("complaint_rate", sa.Double, nullable=False, server_default="0"),  # when it was last warned of
        sqlite_autoincrement=True,
    )
    op.create_table(
        "recipients",
        sa.Column("send", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        # No foreign key: a million checks while a send is queued. A row without its person is skipped.
        sa.Column("subscriber", sa.Integer),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False, server_default=""),  # the subscriber's: a join saved
        sa.Column("address_key", sa.Text),  # test-sends only; else it is the subscriber's
        # Whom the message is personalised for, as JSON: in test-sends; else the subscriber as the last message knew
        # them, who has changed since. Only a resend, which has to be that message again, looks at the latter.
        sa.Column("persona", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("worker", sa.Integer),
        sa.Column("attempts", sa.SmallInteger, nullable=False),
        sa.Column("resends", sa.SmallInteger, nullable=False, server_default="0"),  # how often it left in_doubt by one
        sa.Column("referrals", sa.Integer, nullable=False, server_default="0"),  # as the last message knew them
        sa.Column("judged", sa.SmallInteger, nullable=False, server_default="0"),  # 1: what was refused is acted on
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
        sa.Column(
            "lost_at",
            sa.Double,
            sa.Computed(
                "CASE WHEN state = 'in_doubt' THEN updated_at END", persisted=op.get_bind().dialect.name != "sqlite"
            ),
        ),
        sa.Column(
            "refused_at",
            sa.Double,
            sa.Computed(
                "CASE WHEN state IN ('failed', 'expired') AND judged = 0 THEN updated_at END",
                persisted=op.get_bind().dialect.name != "sqlite",
            ),
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
    lost = sa.text("lost_at IS NOT NULL")
    op.create_index("recipients_lost", "recipients", ["send", "position"], sqlite_where=lost, postgresql_where=lost)
    # Refused, and not yet looked at: a few, for some seconds.
    refused = sa.text("refused_at IS NOT NULL")
    op.create_index(
        "recipients_refused", "recipients", ["send", "position"], sqlite_where=refused, postgresql_where=refused
    )
    _what_comes_back()


def _what_comes_back() -> None:
    op.create_table(
        "events",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("verified", sa.SmallInteger, nullable=False),
        sa.Column("send", sa.Text),  # whose message it is about, where the way it came proves that
        sa.Column("position", sa.Integer),
        sa.Column("event", sa.Text, nullable=False),  # JSON in ASCII, the source's own words among it
        sa.Column("state", sa.Text, nullable=False, server_default="new"),  # new, acted, ignored
        sa.Column("acted_at", sa.Double),
        sa.Column("done", sa.Text, nullable=False, server_default=""),  # what was done, for people to read
        sqlite_autoincrement=True,
    )
    op.create_index("events_once", "events", ["provider", "event_id"], unique=True)
    new = sa.text("state = 'new'")
    op.create_index("events_new", "events", ["key"], sqlite_where=new, postgresql_where=new)
    op.create_table(
        "webhook_tokens",
        sa.Column("token", sa.Text, primary_key=True),  # with the provider's name before it
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "soft_bounces",
        sa.Column("email_key", sa.Text, primary_key=True),
        sa.Column("send", sa.Integer, primary_key=True),  # 0: nobody knows which
        sa.Column("at", sa.Double, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feedback",
        sa.Column("send", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),  # see mailer.service.effects
        sa.Column("at", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    complained = sa.text("kind = 'complained'")
    op.create_index("feedback_complained", "feedback", ["send"], sqlite_where=complained, postgresql_where=complained)
    op.create_table(
        "event_totals",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )
