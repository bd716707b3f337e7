"""The tables and the registry, opened from cloud.toml; and releases into them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from cloud.clock import SystemClock
from cloud.outage_book import FILE, OutageBook
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.keys import Keys, load_keys
from cloud.registry.open_blobs import open_blobs
from cloud.registry.release import Registry
from cloud.settings import CloudSettings
from cloud.store.access import Access
from cloud.store.alarms import Alarms
from cloud.store.answer_states import AnswerStates
from cloud.store.audit import AuditLog
from cloud.store.batches import Batches
from cloud.store.commands import Commands
from cloud.store.configurations import Configurations
from cloud.store.database import CannotOpen, Database
from cloud.store.home_lock import HomeLock
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from cloud.store.versions import Versions
from cloud.store.why_rows import OVERRIDDEN
from contract.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Stores:
    """Every table, by what it is about."""

    database: Database
    stations: Stations
    batches: Batches
    summaries: Summaries
    samples: Samples
    alarms: Alarms
    answers: AnswerStates
    rollouts: Rollouts
    configurations: Configurations
    commands: Commands
    audit: AuditLog
    versions: Versions
    access: Access


def lock_home(settings: CloudSettings) -> HomeLock:
    """Take the home for this aggregator alone.

    Raises:
        InvalidConfig: another one has it, or it cannot be written.
    """
    return HomeLock(settings.path("."))


def open_stores(settings: CloudSettings) -> Stores:
    """Open the database.

    Raises:
        InvalidConfig: the home folder cannot be written, or the database cannot be opened.
    """
    try:
        settings.path(".").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set `home` in cloud.toml to a folder that may be written"
        raise InvalidConfig(f"cannot write in {settings.path('.')}: {error.strerror}", hint=hint) from error
    database = open_database(settings)
    return Stores(
        database=database,
        stations=Stations(database),
        batches=Batches(database),
        summaries=Summaries(database),
        samples=Samples(database, settings.review.second_look),
        alarms=Alarms(database),
        answers=AnswerStates(database),
        rollouts=Rollouts(database),
        configurations=Configurations(database),
        commands=Commands(database),
        audit=AuditLog(database),
        versions=Versions(database),
        access=Access(database),
    )


def open_database(settings: CloudSettings, *, upgrade: bool = True) -> Database:
    """Open the database that cloud.toml names and bring its tables up to date (not where `upgrade` is false).

    Raises:
        InvalidConfig: as `Database`, and `check_not_away`: the next server would take an empty one that a command made for it.
    """
    if upgrade:
        check_not_away(settings, OutageBook(settings.path(FILE)).lost_since)
    return Database(settings.database_url(), upgrade=upgrade)


def check_not_away(settings: CloudSettings, lost_since: float | None) -> None:
    """Do nothing where the database may be opened: SQLite makes an empty file where one was moved away, and nobody would know.

    Args:
        lost_since: since when the server before this one could not use what was there before that, None for never.

    Raises:
        CannotOpen: the server before saw it go, and it is not back.
    """
    if lost_since is not None and (file := missing_file(settings)) is not None:
        hint = f"put it back, or restore a backup; to begin with an empty one, delete {settings.path(FILE)}"
        raise CannotOpen(f"the database {file} is not there: it was moved away or deleted", hint=hint)


def missing_file(settings: CloudSettings) -> Path | None:
    """Return the file of SQLite that cloud.toml names and that is not there, None where it is, or where there is none to be."""
    try:
        url = make_url(settings.database_url())
    except ArgumentError:
        return None  # `Database` says what is wrong with it
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return None
    file = Path(url.database)
    try:
        return None if file.exists() else file
    except OSError:
        return None  # a folder that this user may not look into: whether it is there nobody knows, and `Database` says the rest


def open_registry(settings: CloudSettings) -> Registry:
    """Return the registry of released versions.

    Raises:
        InvalidConfig: [blobs] names no store, or one whose driver is not installed.
    """
    folder = settings.path("registry")
    return Registry(folder, open_blobs(folder, SystemClock().now, settings.blobs.url, settings.blobs.endpoint_url))


def make_releaser(settings: CloudSettings, keys: Keys) -> Any:
    """Return what releases runs into the registry."""
    from cloud.retrain.release_run import RunReleaser  # loads numpy and the run folder's reader

    return RunReleaser(open_registry(settings), keys, settings.path("runs"), SystemClock().now)


def release_run(
    settings: CloudSettings,
    run: Path,
    version: str,
    override_gate: str,
    actor: str,
    retire_older: str = "",
    also: tuple[str, ...] = (),
    *,
    tflite: bool = False,
) -> ReleasedVersion:
    """Release a run and put it on record.

    `retire_older`: why no bundle released before may ever run again on a station that committed this one; "" for an ordinary
    release. `also`: artefacts that the bundle carries behind the one that ships. `tflite`: release
    the TFLite artefact instead.
    """
    releaser = make_releaser(settings, load_keys(settings.path(settings.keys)))
    stores = open_stores(settings)
    stores.versions.check_no_alias(version)
    running = [status.bundle for status in stores.stations.status() if status.bundle]
    released: ReleasedVersion = releaser.release(
        run, version, override_gate, running=running, raise_counter=bool(retire_older), also=also, tflite=tflite
    )
    why = f"{OVERRIDDEN}{override_gate}" if override_gate else ""
    why += f", older bundles must never run again: {retire_older}" if retire_older else ""
    act = "stage" if released.state is ReleaseState.STAGED else "release"
    stores.audit.append(SystemClock().now(), actor, act, f"{version}: bundle {released.digest[:12]}{why}")
    if released.state is ReleaseState.RELEASED:
        stores.versions.note_released(version, actor, SystemClock().now())
    stores.database.close()
    return released
