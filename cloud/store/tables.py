"""Every table of the cloud (SQLAlchemy Core, so that SQLite and PostgreSQL share one definition)."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from cloud.ports.series import MAX_SERIES_CHARS
from cloud.store import summary_tables
from cloud.store.summary_tables import Number, camera_column, counts

metadata = summary_tables.metadata

# Who may speak. Only a hash of the token is kept.
stations = Table(
    "stations",
    metadata,
    Column("station", String(63), primary_key=True),
    Column("token_sha256", String(64), nullable=False),
    Column("site", String(120), nullable=False, default=""),
    Column("added_at", Float, nullable=False),
)

# The latest birth, Will, report and summary of each station.
station_status = Table(
    "station_status",
    metadata,
    Column("station", String(63), primary_key=True),
    Column("boot", String(64), nullable=False, default=""),
    Column("online", Boolean, nullable=False, default=False),
    Column("state_at", Float, nullable=False, default=0.0),
    Column("agent_version", String(40), nullable=False, default=""),
    Column("simulated", Boolean, nullable=False, default=False),
    Column("bundle", String(64), nullable=False, default=""),
    Column("update_state", String(24), nullable=False, default=""),
    Column("deployment", String(64), nullable=False, default=""),
    Column("candidate", String(64), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("desired_seq", Integer, nullable=False, default=0),
    Column("reported_at", Float, nullable=False, default=0.0),
    Column("summary_at", Float, nullable=False, default=0.0),
    Column("configuration", String(64), nullable=False, default="", server_default=""),
    Column("config_state", String(24), nullable=False, default="", server_default=""),
    Column("config_deployment", String(64), nullable=False, default="", server_default=""),
    Column("config_reason", Text, nullable=False, default="", server_default=""),
    Column("config_seq", Integer, nullable=False, default=0, server_default="0"),
    # Which kind of board it is, how it fared when its last summary was made (`contract.messages.HealthNote` as JSON), and how an
    # order ended that was none to keep a bundle.
    Column("board", String(40), nullable=False, default="", server_default=""),
    Column("health", Text, nullable=False, default="", server_default=""),
    Column("outcome", String(24), nullable=False, default="", server_default=""),
)

# Frames that stations kept. The pixels come only when asked for and when the station's policy allows.
samples = Table(
    "samples",
    metadata,
    Column("sample", String(80), primary_key=True),
    Column("station", String(63), nullable=False),
    Column("captured_at", Float, nullable=False),
    Column("part", Text, nullable=False),
    Column("label", String(120), nullable=False),
    Column("confidence", Float, nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("inclusion", Float, nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("requested_at", Float),
    Column("image_sha256", String(64)),
    Column("received_at", Float),
    Column("alarm", Integer),
    Column("truth", String(120)),
    Column("labeller", String(120)),
    Column("labelled_at", Float),
    camera_column(),
    Column("novelty", Float, nullable=False, default=0.0, server_default="0"),
    Index("samples_by_station", "station", "captured_at"),
    Index("samples_by_label", "labelled_at"),
)

# Every act of a person about a kept frame, in the order in which they came; none is ever changed. `samples.truth` is what they
# come to (`cloud.review.agreement`). `note` says where one that was read from a file came from.
labels = Table(
    "labels",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sample", String(80), nullable=False),
    Column("labeller", String(120), nullable=False),
    Column("label", String(120), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(8), nullable=False, default="label", server_default="label"),
    Column("note", String(80), nullable=False, default="", server_default=""),
    Index("labels_by_sample", "sample"),
    Index("labels_by_time", "at"),
)

# Frames that a person labelled and another should see: "disputed", "returned", or a "second look" that keeps its truth meanwhile.
again = Table(
    "again",
    metadata,
    Column("sample", String(80), primary_key=True),
    Column("why", String(16), nullable=False),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("station", String(63), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("cause", String(40), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("closed_why", Text, nullable=False, default=""),
    camera_column(),
)

# The drift detectors' state of each series (`cloud.ports.series`; the column keeps its old name) and how far into `summaries`
# they have read (`cloud.ports.records.Cursor`): written together, or not at all.
drift_state = Table(
    "drift_state",
    metadata,
    Column("station", String(MAX_SERIES_CHARS), primary_key=True),
    Column("snapshot", LargeBinary, nullable=False),
)
drift_cursor = Table(
    "drift_cursor",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("cursor", Number, nullable=False),
    *counts("tx", "position"),
)

# The latest answers of each series, counted (`cloud.drift.answers`): what estimates from labels rest on.
answer_state = Table(
    "answer_state",
    metadata,
    Column("series", String(MAX_SERIES_CHARS), primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

retrains = Table(
    "retrains",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("alarm", Integer, ForeignKey("alarms.id")),
    Column("station", String(63), nullable=False),
    Column("state", String(24), nullable=False),
    Column("reason", Text, nullable=False),
    Column("run", Text, nullable=False, default=""),
    Column("version", String(80), nullable=False, default=""),
    Column("figures", Text, nullable=False, default="{}"),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    camera_column(),
    Column("trigger", String(16), nullable=False, default="drift", server_default="drift"),
)

# What each retrain learns, as it stood when it was begun: whatever dates labels bear and whenever they come, each is learnt once.
lessons = Table(
    "lessons",
    metadata,
    Column("retrain", Integer, ForeignKey("retrains.id"), primary_key=True),
    Column("sample", String(80), primary_key=True),
    Column("truth", String(120), nullable=False),
    Index("lessons_by_sample", "sample"),
)

# Of each series the latest decision whether to retrain, and why or why not.
retrain_decisions = Table(
    "retrain_decisions",
    metadata,
    Column("series", String(MAX_SERIES_CHARS), primary_key=True),
    Column("at", Float, nullable=False),
    Column("go", Boolean, nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("why", Text, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("version", String(80), nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("state", String(24), nullable=False),
    Column("wave", Integer, nullable=False, default=0),
    Column("wave_started_at", Float, nullable=False, default=0.0),
    Column("changed_stations", Text, nullable=False, default="[]"),
    Column("reason", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    # What it is ("release", "rollback", "ab"), who asked for it, its plan and what was last judged of it as JSON
    # (`cloud.rollout.plan`, `cloud.rollout.evidence`), and why it does not move just now, "" where it does.
    Column("kind", String(12), nullable=False, default="release", server_default="release"),
    Column("author", String(120), nullable=False, default="", server_default=""),
    Column("plan", Text, nullable=False, default="{}", server_default="{}"),
    Column("hold", Text, nullable=False, default="", server_default=""),
    Column("evidence", Text, nullable=False, default="{}", server_default="{}"),
)

rollout_stations = Table(
    "rollout_stations",
    metadata,
    Column("rollout", Integer, ForeignKey("rollouts.id"), primary_key=True),
    Column("station", String(63), primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("state", String(24), nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("previous_bundle", String(64), nullable=False, default=""),
    Column("ordered_at", Float),
    Column("ended_at", Float),
    Column("reason", Text, nullable=False, default=""),
    # Of an A/B rollout which bundle it holds ("a": the one before, "b": the new one), and what it was drawn among.
    Column("arm", String(1), nullable=False, default="", server_default=""),
    Column("stratum", String(250), nullable=False, default="", server_default=""),
)

# The order a station should have; `desired_seq` only ever grows.
desired = Table(
    "desired",
    metadata,
    Column("station", String(63), primary_key=True),
    Column("desired_seq", Integer, nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("envelope", Text, nullable=False),
    Column("published", Boolean, nullable=False, default=False),
    Column("facts", Text, nullable=False, default="", server_default=""),
)

# The settings a station should have over its agent.toml; `config_seq` only ever grows.
configurations = Table(
    "configurations",
    metadata,
    Column("station", String(63), primary_key=True),
    Column("config_seq", Integer, nullable=False),
    Column("settings", Text, nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("envelope", Text, nullable=False),
    Column("published", Boolean, nullable=False, default=False),
    Column("issued_at", Float, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("probation_s", Float, nullable=False, default=60.0, server_default="60"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("station", String(63), nullable=False),
    Column("name", String(40), nullable=False),
    Column("sent_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("ok", Boolean),
    Column("detail", Text, nullable=False, default=""),
)

# Each entry's hash covers the one before, so that no line can be changed or taken out unseen.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("actor", String(120), nullable=False),
    Column("act", String(60), nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)
