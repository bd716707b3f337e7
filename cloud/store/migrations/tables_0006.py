"""The tables of revision 0006 as it made them: frozen, whatever becomes of `cloud.store.operate_tables`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

_metadata = MetaData()
_Number = BigInteger().with_variant(Integer(), "sqlite")
_MAX_SERIES_CHARS = 96

# Of an earlier revision: here only to be referred to.
Table("rollouts", _metadata, Column("id", Integer, primary_key=True))

# A person's access token, by its hash. `used_at` is kept to the minute.
access_tokens = Table(
    "access_tokens",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("person", String(120), nullable=False),
    Column("role", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("made_at", Float, nullable=False),
    Column("made_by", String(120), nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("used_at", Float),
)

# Somebody signed in with a browser. `token`: of `access_tokens`, None where a token file or an identity provider vouched;
# `origin` says which ("token", "file operator", "oidc").
sessions = Table(
    "sessions",
    _metadata,
    Column("sha256", String(64), primary_key=True),
    Column("person", String(120), nullable=False),
    Column("role", String(16), nullable=False),
    Column("token", Integer),
    Column("origin", String(40), nullable=False),
    Column("began_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("ended_at", Float),
    Index("sessions_by_expiry", "expires_at"),
)

# What people said to a rollout that asks for it; the newest of each person counts.
approvals = Table(
    "approvals",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False),
    Column("person", String(120), nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("note", Text, nullable=False, default="", server_default=""),
    Column("at", Float, nullable=False),
    Index("approvals_by_rollout", "rollout"),
)

# Where each version stands (`cloud.registry.version_stages`), and the names by which versions are meant.
version_stages = Table(
    "version_stages",
    _metadata,
    Column("version", String(80), primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("reason", Text, nullable=False, default="", server_default=""),
    Column("at", Float, nullable=False),
)
version_aliases = Table(
    "version_aliases",
    _metadata,
    Column("alias", String(40), primary_key=True),
    Column("version", String(80), nullable=False),
    Column("actor", String(120), nullable=False),
    Column("at", Float, nullable=False),
)

# What somebody should be told of, open while `closed_at` is None; one open row a key. `told_at`: when its key last went out, of a
# row before this one perhaps; `told_severity` and `members`: how urgent it was said to be, and of which stations, as JSON.
notices = Table(
    "notices",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(200), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("severity", String(12), nullable=False),
    Column("what", Text, nullable=False),
    Column("link", Text, nullable=False, default="", server_default=""),
    Column("runbook", String(80), nullable=False, default="", server_default=""),
    Column("opened_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("told_at", Float),
    Column("times_told", Integer, nullable=False, default=0, server_default="0"),
    Column("closed_at", Float),
    Column("told_severity", String(12), nullable=False, default="", server_default=""),
    Column("members", Text, nullable=False, default="[]", server_default="[]"),
    Index("notices_by_key", "key", "closed_at"),
)

# Messages of notices on their way out: one a channel, tried again until it was taken or is too old. `sent_at`: when it was taken,
# or given up, in which case `error` begins with "given up".
notice_posts = Table(
    "notice_posts",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("notice", Integer, ForeignKey("notices.id"), nullable=False),
    Column("channel", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("tries", Integer, nullable=False, default=0, server_default="0"),
    Column("sent_at", Float),
    Column("error", Text, nullable=False, default="", server_default=""),
    Index("notice_posts_due", "channel", "sent_at", "id"),
    Index("notice_posts_by_notice", "notice"),
)

# Of each hour and promise (`cloud.slo`) how many events there were, and how many of them were good. Each writer has a `shard` of
# its own: what counts is their sum.
slo_hours = Table(
    "slo_hours",
    _metadata,
    Column("hour", _Number, nullable=False),
    Column("promise", String(24), nullable=False),
    Column("shard", Integer, nullable=False, default=0, server_default="0"),
    Column("good", _Number, nullable=False, default=0, server_default="0"),
    Column("total", _Number, nullable=False, default=0, server_default="0"),
    PrimaryKeyConstraint("hour", "promise", "shard"),
)

# How far promises that are counted by the clock have been: the last minute since 1970, -1 for none.
slo_marks = Table(
    "slo_marks",
    _metadata,
    Column("promise", String(24), primary_key=True),
    Column("mark", _Number, nullable=False),
)

# What each station cost on each day (days since 1970, UTC), by kind: bytes, images, cloud calls, GPU seconds.
cost_days = Table(
    "cost_days",
    _metadata,
    Column("day", Integer, nullable=False),
    Column("station", String(63), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("amount", Float, nullable=False, default=0.0, server_default="0"),
    PrimaryKeyConstraint("day", "station", "kind"),
)

# The newest evidence of each series against its normal, for charts: a ring of fixed size (`cloud.drift.trace`).
drift_traces = Table(
    "drift_traces",
    _metadata,
    Column("series", String(_MAX_SERIES_CHARS), primary_key=True),
    Column("trace", LargeBinary, nullable=False),
)

# Which part an inspector has before them, so that two do not label one at the same time without knowing.
review_claims = Table(
    "review_claims",
    _metadata,
    Column("sample", String(80), primary_key=True),
    Column("labeller", String(120), nullable=False),
    Column("until", Float, nullable=False),
)


def added() -> dict[str, tuple[Column[Any], ...]]:
    """Return the columns that tables of earlier revisions gained; anew each time, for a column is good for one table."""
    return {
        "rollouts": (
            Column("kind", String(12), nullable=False, server_default="release"),
            Column("author", String(120), nullable=False, server_default=""),
            Column("plan", Text, nullable=False, server_default="{}"),
            Column("hold", Text, nullable=False, server_default=""),
            Column("evidence", Text, nullable=False, server_default="{}"),
        ),
        "rollout_stations": (
            Column("arm", String(1), nullable=False, server_default=""),
            Column("stratum", String(250), nullable=False, server_default=""),
        ),
        "station_status": (
            Column("board", String(40), nullable=False, server_default=""),
            Column("health", Text, nullable=False, server_default=""),
            Column("outcome", String(24), nullable=False, server_default=""),
        ),
        "station_totals": (
            Column("bytes", _Number, nullable=False, server_default="0"),
            Column("bytes_costed", _Number, nullable=False, server_default="0"),
        ),
    }
