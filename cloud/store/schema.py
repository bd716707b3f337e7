"""Which version the tables are of, and how they are brought to this one's (Alembic, from within the package).

An empty database gets its tables at once; one that is there already is migrated step by step. The whole is one transaction, and
one process at a time does it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select

import cloud.store.certificate_tables
import cloud.store.operate_tables  # noqa: F401 - so do its
from cloud.store.tables import metadata
from contract.errors import InvalidConfig

HEAD = "0007"
"""The version of the tables that this program works with: the newest revision in `cloud/store/migrations`."""

# Any number will do, as long as every Plumbline takes the same.
_LOCK = 0x504C_4D42
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def schema_version(connection: Connection) -> str:
    """Return the version of the tables; "" for an empty database, "0000" for one of before there were versions."""
    found = inspect(connection)
    if found.has_table(_version.name):
        return connection.execute(select(_version.c.version_num)).scalar() or "0000"
    return "0000" if found.has_table("stations") else ""


def bring_up_to_date(writer: Engine) -> None:
    """Make or migrate the tables. `writer` begins transactions that write.

    Raises:
        InvalidConfig: a newer version made the database.
    """
    # Asked without a lock first: a database that is up to date is opened while others write.
    with writer.execution_options(writes=False).connect() as connection:
        if schema_version(connection) == HEAD:
            return
    with writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            lift_timeouts(connection)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = schema_version(connection)
        if version == "":
            metadata.create_all(connection)
            _version.create(connection)
            connection.execute(_version.insert().values(version_num=HEAD))
        elif version != HEAD:
            migrate(connection, HEAD)


def lift_timeouts(connection: Connection) -> None:
    """Let PostgreSQL take its time in the transaction at hand: copying a big table needs it."""
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {setting} = 0")


def migrate(connection: Connection, to: str) -> None:
    """Run the revisions that the database lacks, up to `to`, in the transaction at hand.

    Raises:
        InvalidConfig: its version is none that this program knows.
    """
    from alembic.config import Config  # a third of a second, and only ever once a database
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)
    version = schema_version(connection)
    if version != "0000" and version not in {each.revision for each in script.walk_revisions()}:
        raise InvalidConfig(
            f"the database is of version {version}, and this program knows versions up to {HEAD}",
            hint="a newer plumbline-cloud made it: update this one, or restore a backup",
        )

    def steps(rev: Any, _context: Any) -> Any:
        return script._upgrade_revs(to, rev)

    with EnvironmentContext(config, script, fn=steps) as context:
        context.configure(connection=connection, transactional_ddl=True)
        context.run_migrations()
