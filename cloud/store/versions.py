"""Where each version stands, and the names by which versions are meant. Each change is one transaction with its audit entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, select, update

from cloud.ports.versions import AliasOf, BundleUse, StageOf
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import FORWARD, RolloutState
from cloud.rollout.version_states import (
    CANDIDATE_ALIAS,
    CHAMPION_ALIAS,
    RESERVED_ALIASES,
    VersionEvent,
    VersionStage,
    check_alias,
    step_stage,
)
from cloud.store.audit import write_audit
from cloud.store.bundle_uses import bundle_uses, stations_on
from cloud.store.database import Database
from cloud.store.operate_tables import version_aliases, version_stages
from cloud.store.tables import rollouts
from cloud.store.usable import check_usable_in
from contract.errors import InvalidConfig, NotFound, RefusedError

# Any number but those of `cloud.store.schema`, `cloud.store.partitions` and `cloud.store.audit`.
_LOCK = 0x504C_4D56
_AB = "ab"
_MAX_SHOWN = 6


class Versions:
    """The version_stages and version_aliases tables; `cloud.ports.registry.VersionStages`.

    A released version without a row is a CANDIDATE; `adopt` gives it one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def stages(self) -> dict[str, StageOf]:
        """Return where each version stands that has a row."""
        with self._database.read() as connection:
            return _stages(connection)

    def aliases(self) -> list[AliasOf]:
        """Return every alias, by name."""
        with self._database.read() as connection:
            return _aliases(connection)

    def uses(self, bundle_of: Mapping[str, str], now: float) -> list[BundleUse]:
        """Return every reason why a bundle must stay (`bundle_uses`)."""
        with self._database.read() as connection:
            return bundle_uses(connection, bundle_of, now)

    def running(self) -> dict[str, list[str]]:
        """Return the stations that run each bundle, by their own word."""
        with self._database.read() as connection:
            return stations_on(connection)

    def check_usable(self, version: str) -> None:
        """Do nothing where a version may be rolled out.

        Raises:
            RefusedError: it was retired; the message says by whom and why.
        """
        with self._database.read() as connection:
            check_usable_in(connection, version)

    def resolve(self, name: str) -> str:
        """Return the version that `name` means: an alias, or else the version itself, whether or not there is one.

        Raises:
            NotFound: nothing is champion, or candidate, now.
        """
        with self._database.read() as connection:
            return resolve_in(connection, name)

    def check_no_alias(self, version: str) -> None:
        """Check that a new version's name is no alias: one name must not mean two.

        Raises:
            InvalidConfig: it is one.
        """
        with self._database.read() as connection:
            names = {each.alias for each in _aliases(connection)} | set(RESERVED_ALIASES)
            if version in names - _stages(connection).keys():
                raise InvalidConfig(f"'{version}' is an alias", hint="choose a new version name")

    def adopt(self, versions: Mapping[str, float], now: float) -> None:
        """Give every released version a place that has none. Repeating it is harmless.

        In a plant from before there were stages, the version of the newest rollout that ended well is champion, those of others
        are former.

        Args:
            versions: when each was released, Unix seconds.
        """
        with self._database.read() as connection:
            if not _to_adopt(connection, versions):
                return
        with self._change() as connection:
            new, done = _to_adopt(connection, versions) or ({}, {})
            for version in sorted(new, key=lambda each: (versions[each], each)):
                self._add(connection, version, "plumbline", "released", versions[version])
            if new:
                _move_candidate(self._database, connection, versions, "plumbline", now)
                write_audit(connection, now, "plumbline", "stage", f"{_some(sorted(new))}: CANDIDATE")
            for version, at in sorted(done.items(), key=lambda each: each[1]):
                self._crown(connection, version, "plumbline", "a rollout of it ended well", at, now)

    def note_released(self, version: str, actor: str, now: float) -> None:
        """Record that a version was released, or released again after its files were deleted: it is the candidate."""
        with self._change() as connection:
            found = _stages(connection).get(version)
            if found is not None and found.stage not in (VersionStage.STAGED, VersionStage.PRUNED):
                return
            if found is None:
                self._add(connection, version, actor, "released", now)
            else:
                _step(connection, found, VersionEvent.RELEASE, actor, "released", now)
            self._alias(connection, CANDIDATE_ALIAS, version, actor, now)
            write_audit(connection, now, actor, "stage", f"{version}: CANDIDATE")

    def rolled_out(self, version: str, actor: str, now: float) -> None:
        """Record that a version reached everybody: it is the champion, and the one before is a former one.

        Raises:
            IllegalTransition: it was retired meanwhile.
        """
        with self._change() as connection:
            self._crown(connection, version, actor, "a rollout of it ended well", now, now)

    def set_alias(self, alias: str, version: str, actor: str, reason: str, now: float) -> None:
        """Let `alias` mean `version` from now on. Whoever is called champion is the champion.

        Raises:
            InvalidConfig: it cannot be an alias.
            RefusedError: a version has that name, or this version was retired.
        """
        check_alias(alias)
        with self._change() as connection:
            known = _stages(connection)
            if alias in known:
                raise RefusedError(f"'{alias}' is a version's own name", hint="choose another alias")
            check_usable_in(connection, version)
            before = next((each.version for each in _aliases(connection) if each.alias == alias), "")
            if before == version:
                return
            if alias == CHAMPION_ALIAS:
                self._crown(connection, version, actor, reason, now, now)
                return
            self._alias(connection, alias, version, actor, now)
            was = f" (was {before})" if before else ""
            write_audit(connection, now, actor, "alias", f"{alias}: {version}{was}{_because(reason)}")

    def drop_alias(self, alias: str, actor: str, reason: str, now: float) -> None:
        """Let `alias` mean nothing any more.

        Raises:
            NotFound: there is none.
            RefusedError: it moves by itself.
        """
        if alias in RESERVED_ALIASES:
            raise RefusedError(f"'{alias}' moves by releases and rollouts", hint="move it to another version")
        with self._change() as connection:
            table = version_aliases
            if not connection.execute(delete(table).where(table.c.alias == alias)).rowcount:
                raise NotFound(f"no alias '{alias[:80]}'", hint="plumbline-cloud version list")
            write_audit(connection, now, actor, "alias", f"{alias}: none{_because(reason)}")

    def retire(
        self, version: str, bundle_of: Mapping[str, str], actor: str, reason: str, now: float, *, safe: str = ""
    ) -> None:
        """Let nobody be ordered to run a version from now on. What runs it goes on running it.

        Args:
            bundle_of: the bundle of each version.
            safe: why it may be retired though stations run it or may go back to it.
        Raises:
            RefusedError: it is still needed, and `safe` says nothing; or a rollout is bringing it to stations.
            IllegalTransition: it is the champion, or was retired already.
        """
        if not reason.strip():
            raise InvalidConfig("a version is retired for a reason", hint="say why")
        with self._change() as connection:
            # Its row first: whoever starts a rollout of it at this moment has it locked, or finds it retired.
            found = self._own(connection, version, now)
            step_stage(found.stage, VersionEvent.RETIRE)
            named = [each.alias for each in _aliases(connection) if each.version == version]
            if own := [name for name in named if name not in RESERVED_ALIASES]:
                raise RefusedError(
                    f"'{', '.join(own)}' means version '{version}'",
                    hint="let it mean another one first: plumbline-cloud version alias",
                )
            needed = [each.why for each in bundle_uses(connection, bundle_of, now) if each.bundle == bundle_of[version]]
            if needed and not safe.strip():
                hint = "bring the stations another one first, or say why it is safe (--safe WHY)"
                raise RefusedError(f"version '{version}' is still needed: {_some(needed)}", hint=hint)
            going = (rollouts.c.version == version, rollouts.c.state.in_([state.value for state in FORWARD]))
            if (under_way := connection.execute(select(rollouts.c.id).where(*going)).scalar()) is not None:
                # Whatever is safe, it would go on ordering what nobody may be ordered to run.
                raise RefusedError(
                    f"rollout {under_way} is bringing version '{version}' to stations",
                    hint=f"abort it first: plumbline-cloud rollout abort {under_way}",
                )
            why = reason.strip() + (f" (though {_some(needed)}: {safe.strip()})" if needed else "")
            _step(connection, found, VersionEvent.RETIRE, actor, why, now)
            if CANDIDATE_ALIAS in named:
                connection.execute(delete(version_aliases).where(version_aliases.c.alias == CANDIDATE_ALIAS))
            write_audit(connection, now, actor, "retire", f"{version}: {why}")

    def unretire(self, version: str, actor: str, reason: str, now: float) -> None:
        """Let a retired version be ordered again.

        Raises:
            IllegalTransition: it is not retired.
        """
        with self._change() as connection:
            _step(connection, self._own(connection, version, now), VersionEvent.UNRETIRE, actor, reason, now)
            write_audit(connection, now, actor, "unretire", f"{version}{_because(reason)}")

    def prune(
        self,
        choose: Callable[[Mapping[str, StageOf], list[AliasOf], list[BundleUse]], Iterable[str]],
        bundle_of: Mapping[str, str],
        actor: str,
        reason: str,
        now: float,
    ) -> tuple[str, ...]:
        """Mark versions whose files are to be deleted: from now on nobody is ordered to run them.

        `choose` is asked in the transaction itself, of how things stand at that moment.

        Returns: all of `bundle_of` that are marked, now or before.
        """
        with self._change() as connection:
            for version in sorted(bundle_of):
                self._own(connection, version, now)
            stages = _stages(connection)
            chosen = tuple(choose(stages, _aliases(connection), bundle_uses(connection, bundle_of, now)))
            for version in chosen:
                _step(connection, stages[version], VersionEvent.PRUNE, actor, reason, now)
                write_audit(connection, now, actor, "prune", f"{version}: bundle {bundle_of[version][:12]}; {reason}")
            return tuple(name for name in bundle_of if _is_pruned(stages[name]) or name in chosen)

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """Give a transaction beside which no other changes a stage or an alias."""
        with self._database.write() as connection:
            if self._database.is_postgresql:
                # SQLite has one writer at a time; here two would each crown their own.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection

    def _own(self, connection: Connection, version: str, now: float) -> StageOf:
        """Return where a version stands, its row locked."""
        row = {"version": version, "stage": VersionStage.CANDIDATE.value, "actor": "plumbline", "reason": "", "at": now}
        connection.execute(self._database.insert_new(version_stages).values(**row))
        own = version_stages.c.version == version
        return _stage_of(connection.execute(select(version_stages).where(own).with_for_update()).one()._mapping)

    def _add(self, connection: Connection, version: str, actor: str, reason: str, at: float) -> None:
        row = {"version": version, "stage": VersionStage.CANDIDATE.value, "actor": actor, "reason": reason, "at": at}
        connection.execute(self._database.insert_new(version_stages).values(**row))

    def _crown(self, connection: Connection, version: str, actor: str, reason: str, at: float, now: float) -> None:
        """Make `version` champion as of `at`."""
        found = self._own(connection, version, now)
        if found.stage is VersionStage.CHAMPION:
            own = version_stages.c.version == version
            connection.execute(update(version_stages).where(own).values(at=max(at, found.at)))
            return
        before = [each for each in _stages(connection).values() if each.stage is VersionStage.CHAMPION]
        _step(connection, found, VersionEvent.ROLLED_OUT, actor, reason, at)
        for each in before:
            _step(connection, each, VersionEvent.SUCCEEDED, actor, f"{version} is champion", at)
        self._alias(connection, CHAMPION_ALIAS, version, actor, now)
        same = (version_aliases.c.alias == CANDIDATE_ALIAS, version_aliases.c.version == version)
        connection.execute(delete(version_aliases).where(*same))
        was = f" (was {before[0].version})" if before else ""
        write_audit(connection, now, actor, "alias", f"{CHAMPION_ALIAS}: {version}{was}{_because(reason)}")

    def _alias(self, connection: Connection, alias: str, version: str, actor: str, now: float) -> None:
        row = {"alias": alias, "version": version, "actor": actor, "at": now}
        connection.execute(self._database.upsert(version_aliases, "alias", row))


def resolve_in(connection: Connection, name: str) -> str:
    """As `Versions.resolve`, in a transaction at hand."""
    # A version's own name is older than any alias, and means itself.
    if connection.execute(select(version_stages.c.version).where(version_stages.c.version == name)).first():
        return name
    found = connection.execute(select(version_aliases.c.version).where(version_aliases.c.alias == name)).scalar()
    if found is not None:
        return str(found)
    if name == CHAMPION_ALIAS:
        raise NotFound("no version is champion yet", hint="one is when a rollout of it reached everybody")
    if name == CANDIDATE_ALIAS:
        raise NotFound("no version is candidate now", hint="the next release is")
    return name


def _move_candidate(
    database: Database, connection: Connection, versions: Mapping[str, float], actor: str, now: float
) -> None:
    """Let `candidate` mean the newest version that is one, where it is newer than the champion."""
    stages = _stages(connection)
    known = {name: stages[name].stage for name in versions if name in stages}
    newest = max(versions, key=lambda each: (versions[each], each), default="")
    if known.get(newest) is VersionStage.CANDIDATE:
        row = {"alias": CANDIDATE_ALIAS, "version": newest, "actor": actor, "at": now}
        connection.execute(database.upsert(version_aliases, "alias", row))


def _to_adopt(connection: Connection, versions: Mapping[str, float]) -> tuple[set[str], dict[str, float]] | None:
    """Return versions without a place, and, without a champion, when rollouts of which ended well; None for neither."""
    stages, done = _stages(connection), dict[str, float]()
    if all(each.stage is not VersionStage.CHAMPION for each in stages.values()):
        table = rollouts
        query = select(table).where(table.c.state == RolloutState.DONE.value, table.c.kind != _AB)
        for row in connection.execute(query.order_by(table.c.ended_at)):
            # Of a rollout to some stations nobody says that it reached everybody.
            everybody = not read_plan(row.plan).cohort
            if everybody and row.version in versions and _may_be_crowned(stages.get(row.version)):
                done[row.version] = row.ended_at
    new = versions.keys() - stages.keys()
    return (new, done) if new or done else None


def _is_pruned(found: StageOf) -> bool:
    return found.stage is VersionStage.PRUNED


def _may_be_crowned(found: StageOf | None) -> bool:
    return found is None or found.stage in (VersionStage.CANDIDATE, VersionStage.FORMER)


def _step(connection: Connection, found: StageOf, event: VersionEvent, actor: str, reason: str, at: float) -> None:
    stage = step_stage(found.stage, event)
    own = version_stages.c.version == found.version
    values = {"stage": stage.value, "actor": actor, "reason": reason, "at": at}
    connection.execute(update(version_stages).where(own).values(**values))


def _stages(connection: Connection) -> dict[str, StageOf]:
    return {row.version: _stage_of(row._mapping) for row in connection.execute(select(version_stages))}


def _stage_of(row: Mapping[Any, Any]) -> StageOf:
    return StageOf(**{**row, "stage": VersionStage(row["stage"])})


def _aliases(connection: Connection) -> list[AliasOf]:
    query = select(version_aliases).order_by(version_aliases.c.alias)
    return [AliasOf(**row._mapping) for row in connection.execute(query)]


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _some(words: list[str]) -> str:
    more = len(words) - _MAX_SHOWN
    return "; ".join(words[:_MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")
