"""Where each version stands, and the names by which versions are meant. Each change is one transaction with its audit entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, delete, select, update

from cloud.ports.versions import AliasOf, BundleUse, StageOf
from cloud.rollout.rollout_states import FORWARD
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
from cloud.store.version_adoption import move_candidate, to_adopt
from cloud.store.version_rows import (
    add_candidate,
    aliases_in,
    locked_stage,
    put_alias,
    resolve_in,
    stages_in,
    step_row,
)
from contract.errors import InvalidConfig, NotFound, RefusedError

# Any number but those of `cloud.store.schema`, `cloud.store.partitions` and `cloud.store.audit`.
_LOCK = 0x504C_4D56
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
            return stages_in(connection)

    def aliases(self) -> list[AliasOf]:
        """Return every alias, by name."""
        with self._database.read() as connection:
            return aliases_in(connection)

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
            names = {each.alias for each in aliases_in(connection)} | set(RESERVED_ALIASES)
            if version in names - stages_in(connection).keys():
                raise InvalidConfig(f"'{version}' is an alias", hint="choose a new version name")

    def adopt(self, versions: Mapping[str, float], now: float) -> None:
        """Give every released version a place that has none. Repeating it is harmless.

        In a plant from before there were stages, the version of the newest rollout that ended well is champion, those of others
        are former.

        Args:
            versions: when each was released, Unix seconds.
        """
        with self._database.read() as connection:
            if not to_adopt(connection, versions):
                return
        with self._change() as connection:
            new, done = to_adopt(connection, versions) or ({}, {})
            for version in sorted(new, key=lambda each: (versions[each], each)):
                add_candidate(self._database, connection, version, "plumbline", "released", versions[version])
            if new:
                move_candidate(self._database, connection, versions, "plumbline", now)
                write_audit(connection, now, "plumbline", "stage", f"{_some(sorted(new))}: CANDIDATE")
            for version, at in sorted(done.items(), key=lambda each: each[1]):
                self._crown(connection, version, "plumbline", "a rollout of it ended well", at, now)

    def note_released(self, version: str, actor: str, now: float) -> None:
        """Record that a version was released, or released again after its files were deleted: it is the candidate."""
        with self._change() as connection:
            found = stages_in(connection).get(version)
            if found is not None and found.stage not in (VersionStage.STAGED, VersionStage.PRUNED):
                return
            if found is None:
                add_candidate(self._database, connection, version, actor, "released", now)
            else:
                step_row(connection, found, VersionEvent.RELEASE, actor, "released", now)
            put_alias(self._database, connection, CANDIDATE_ALIAS, version, actor, now)
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
            known = stages_in(connection)
            if alias in known:
                raise RefusedError(f"'{alias}' is a version's own name", hint="choose another alias")
            check_usable_in(connection, version)
            before = next((each.version for each in aliases_in(connection) if each.alias == alias), "")
            if before == version:
                return
            if alias == CHAMPION_ALIAS:
                self._crown(connection, version, actor, reason, now, now)
                return
            put_alias(self._database, connection, alias, version, actor, now)
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
            found = locked_stage(self._database, connection, version, now)
            step_stage(found.stage, VersionEvent.RETIRE)
            named = [each.alias for each in aliases_in(connection) if each.version == version]
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
            step_row(connection, found, VersionEvent.RETIRE, actor, why, now)
            if CANDIDATE_ALIAS in named:
                connection.execute(delete(version_aliases).where(version_aliases.c.alias == CANDIDATE_ALIAS))
            write_audit(connection, now, actor, "retire", f"{version}: {why}")

    def unretire(self, version: str, actor: str, reason: str, now: float) -> None:
        """Let a retired version be ordered again.

        Raises:
            IllegalTransition: it is not retired.
        """
        with self._change() as connection:
            found = locked_stage(self._database, connection, version, now)
            step_row(connection, found, VersionEvent.UNRETIRE, actor, reason, now)
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
                locked_stage(self._database, connection, version, now)
            stages = stages_in(connection)
            chosen = tuple(choose(stages, aliases_in(connection), bundle_uses(connection, bundle_of, now)))
            for version in chosen:
                step_row(connection, stages[version], VersionEvent.PRUNE, actor, reason, now)
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

    def _crown(self, connection: Connection, version: str, actor: str, reason: str, at: float, now: float) -> None:
        """Make `version` champion as of `at`."""
        found = locked_stage(self._database, connection, version, now)
        if found.stage is VersionStage.CHAMPION:
            own = version_stages.c.version == version
            connection.execute(update(version_stages).where(own).values(at=max(at, found.at)))
            return
        before = [each for each in stages_in(connection).values() if each.stage is VersionStage.CHAMPION]
        step_row(connection, found, VersionEvent.ROLLED_OUT, actor, reason, at)
        for each in before:
            step_row(connection, each, VersionEvent.SUCCEEDED, actor, f"{version} is champion", at)
        put_alias(self._database, connection, CHAMPION_ALIAS, version, actor, now)
        same = (version_aliases.c.alias == CANDIDATE_ALIAS, version_aliases.c.version == version)
        connection.execute(delete(version_aliases).where(*same))
        was = f" (was {before[0].version})" if before else ""
        write_audit(connection, now, actor, "alias", f"{CHAMPION_ALIAS}: {version}{was}{_because(reason)}")


def _is_pruned(found: StageOf) -> bool:
    return found.stage is VersionStage.PRUNED


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _some(words: list[str]) -> str:
    more = len(words) - _MAX_SHOWN
    return "; ".join(words[:_MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")
