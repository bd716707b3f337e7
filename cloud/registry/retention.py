"""Which versions' files may be deleted, and deleting them: never what a station runs, or might have to go back to.

What goes of a version is its archive, as a blob and as a target of the image repository, the deltas from and to it, and its
full-precision model. What is known of it stays (`cloud.registry.evidence`). The order of the steps, each of which may be the last
before a power cut, and all of which are repeated by the next run:

    1. what the bundle says of itself is kept apart;
    2. the versions are marked (`cloud.store.versions`): from here on nobody is ordered to run them;
    3. targets without them are signed and published, or wait for the keys that are elsewhere;
    4. once no metadata lists them, neither what is published nor what waits, their files go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from cloud.ports.versions import AliasOf, BundleUse, StageOf
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.durable_file import remove_durably
from cloud.registry.evidence import keep_evidence
from cloud.registry.keys import Keys
from cloud.registry.release import Registry
from cloud.rollout.version_states import VersionStage

_DAY_S = 86_400.0
_CROWNED = (VersionStage.CHAMPION, VersionStage.FORMER)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How much stays besides what is needed: the last `champions`, the one in charge too, and what is younger than `days`."""

    champions: int = 3
    days: float = 30.0


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Which versions' files may go, and why those of the others stay."""

    gone: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Freed:
    """What became of versions whose files were to be deleted. `waiting`: those whose targets wait for signatures."""

    versions: tuple[str, ...]
    waiting: tuple[str, ...]
    size_bytes: int


Choose = Callable[[Mapping[str, StageOf], list[AliasOf], list[BundleUse]], Iterable[str]]


def plan_retention(
    versions: Sequence[ReleasedVersion],
    stages: Mapping[str, StageOf],
    aliases: Iterable[AliasOf],
    uses: Iterable[BundleUse],
    staged: AbstractSet[str],
    rules: RetentionRules,
    now: float,
) -> RetentionPlan:
    """Return what may go. Of a bundle that has two names, both must be free to go.

    Args:
        versions: of the catalog, newest first.
        uses: what needs which bundle.
        staged: bundles that wait for signatures.
        now: Unix seconds.
    """
    marked = {each.version for each in stages.values() if each.stage is VersionStage.PRUNED}
    there = [each for each in versions if each.state is not ReleaseState.PRUNED and each.version not in marked]
    why: dict[str, list[str]] = {each.version: [] for each in there}
    if there:
        why[there[0].version].append("it is the newest release")
    by_bundle = list(uses)
    for each in there:
        reasons, stands = why[each.version], stages.get(each.version)
        if stands is None or stands.stage is VersionStage.STAGED:
            reasons.append("it has no stage yet")
        reasons += [f"it is '{alias.alias}'" for alias in aliases if alias.version == each.version]
        reasons += [use.why for use in by_bundle if use.bundle == each.digest]
        if each.digest in staged:
            reasons.append("it waits for signatures")
        if (age_days := (now - each.created_at) / _DAY_S) < rules.days:
            reasons.append(f"it was released {age_days:.0f} days ago, less than {rules.days:g}")
        if stands is not None and stands.stage is VersionStage.RETIRED and (now - stands.at) / _DAY_S < rules.days:
            reasons.append(f"it was retired less than {rules.days:g} days ago")
    crowned = [each for each in stages.values() if each.stage in _CROWNED and each.version in why]
    crowned.sort(key=lambda each: (each.stage is VersionStage.CHAMPION, each.at), reverse=True)
    for place, champion in enumerate(crowned[: max(rules.champions, 1)]):
        why[champion.version].append(
            "it is the champion" if place == 0 else f"it is among the last {rules.champions} champions"
        )
    shared = {each.digest for each in there if why[each.version]}
    for each in there:
        if not why[each.version] and each.digest in shared:
            why[each.version].append("another version is the same bundle")
    gone = tuple(each.version for each in there if not why[each.version])
    return RetentionPlan(gone, {name: tuple(reasons) for name, reasons in why.items() if reasons})


def files_of(registry: Registry, keys: Keys, gone: AbstractSet[str]) -> dict[str, int]:
    """Return how many bytes would be freed by each of the versions `gone`, all of them going together."""
    tuf, blobs, counted = registry.tuf(keys), registry.blobs, set[str]()
    needed = _named_by_others(registry, gone)
    found = {}
    for each in registry.catalog.all():
        if each.version not in gone:
            continue
        mine = {each.digest, each.full_precision} - {""} - needed - counted
        files = {*tuf.deltas_of(each.digest), tuf.target_file(each.digest)} if each.digest in mine else set[Path]()
        fresh = {file for file in files if str(file) not in counted}
        found[each.version] = sum(map(blobs.size_of, mine)) + sum(map(_own_bytes, fresh))
        counted |= mine | {str(file) for file in fresh}
    return found


def prune(
    registry: Registry,
    keys: Keys,
    planned: AbstractSet[str],
    mark: Callable[[Choose], Iterable[str]],
    rules: RetentionRules,
    now: float,
) -> Freed:
    """Delete the files of those of the versions `planned` that may still go, and of what was marked before and is still here.

    Args:
        keys: must hold the targets key, or what is to be signed waits for it.
        mark: marks the versions that the function given to it chooses, in one transaction in which nothing about them changes;
            returns all that are marked, now or before.
        now: Unix seconds.
    Raises:
        TransientError: the blob store cannot be reached.
        NotFound: an online key is missing.
    """
    with registry.lock():
        prepared: set[str] = set()
        for each in registry.catalog.all():
            if each.version in planned and each.state is not ReleaseState.PRUNED:
                keep_evidence(registry, each)
                prepared.add(each.version)
        versions = registry.catalog.all()
        staged = {each.digest for each in registry.pending.releases()}

        def choose(stages: Mapping[str, StageOf], aliases: list[AliasOf], uses: list[BundleUse]) -> Iterable[str]:
            plan = plan_retention(versions, stages, aliases, uses, staged, rules, now)
            return [version for version in plan.gone if version in prepared]

        marked = set(mark(choose))
        for each in versions:
            if each.version in marked and each.state is not ReleaseState.PRUNED:
                registry.catalog.set_state(each.version, ReleaseState.PRUNED)
        return _delete(registry, keys, marked, now)


def _delete(registry: Registry, keys: Keys, marked: AbstractSet[str], now: float) -> Freed:
    """Withdraw the bundles of the versions `marked`, and delete the files of those that nothing lists."""
    # Before anything goes: what is published without them takes the deltas away at once.
    sizes = files_of(registry, keys, marked)
    named = _named_by_others(registry, marked)
    gone = [each for each in registry.catalog.all() if each.version in marked]
    tuf = registry.tuf(keys)
    if withdrawn := {each.digest for each in gone} - named:
        tuf.withdraw(withdrawn, now)
    freed, deleted, waiting = 0, [], []
    for each in gone:
        if each.digest in withdrawn and tuf.is_listed(each.digest):
            waiting.append(each.version)
            continue
        mine = {each.digest, each.full_precision} - {""} - named
        if each.digest in mine:
            for file in (*tuf.deltas_of(each.digest), tuf.target_file(each.digest)):
                remove_durably(file)
        for digest in sorted(mine):
            registry.blobs.delete(digest)
        if sizes[each.version]:
            deleted.append(each.version)
            freed += sizes[each.version]
    return Freed(tuple(deleted), tuple(waiting), freed)


def _own_bytes(file: Path) -> int:
    """Return what a file takes on the disk that no other name of it does: a target is mostly the blob itself."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        return 0
    return facts.st_size if facts.st_nlink == 1 else 0


def _named_by_others(registry: Registry, gone: AbstractSet[str]) -> set[str]:
    """Return the blobs that other versions than `gone` need, and what is kept of these."""
    found = set[str]()
    for each in (*registry.catalog.all(), *registry.pending.releases()):
        found |= {each.gate_report, each.report_page, each.manifest, each.model_card}
        if each.version not in gone:
            found |= {each.digest, each.full_precision}
    return found - {""}
