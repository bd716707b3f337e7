"""What is known of each version, put together from the catalog, the tables and the gate's reports; for the API and the pages."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.ports.lineage import LineageGraph
from cloud.ports.versions import StageOf
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.evidence import read_card_bytes, read_gate, read_manifest
from cloud.registry.release import Registry
from cloud.rollout.version_states import VersionStage
from cloud.store.alarms import Alarms
from cloud.store.database import Database
from cloud.store.rollouts import Rollouts
from cloud.store.versions import Versions
from cloud.store.why_rows import OVERRIDDEN, release_acts
from contract.errors import NotFound, PlumblineError
from contract.manifest import Manifest

_KEPT_REPORTS = 256


@dataclass(frozen=True, slots=True)
class GateBrief:
    """The gate's word on a version: the checks that failed, and the figures people ask for first."""

    passed: bool
    failed: tuple[str, ...]
    checks: int
    accuracy: float
    median_ms: float


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A version in a list. `stations`: those that run it, by their own word; `disk_bytes`: what its archive and model take."""

    released: ReleasedVersion
    stands: StageOf
    aliases: tuple[str, ...]
    gate: GateBrief | None
    stations: tuple[str, ...]
    disk_bytes: int

    @property
    def version(self) -> str:
        """Its name."""
        return self.released.version


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A retrain that led to no version. `report` is None where it failed before its gate; `trouble` says what stopped it."""

    retrain: int
    series: str
    reason: str
    run: str
    ended_at: float | None
    trouble: str
    report: GateReport | None


@dataclass(frozen=True, slots=True)
class VersionDetail:
    """All that is known of one version. What cannot be read is None or "", and `gaps` say why.

    `rollouts`: (number, state) of those that brought it; `needed`: why its files stay.
    """

    facts: VersionFacts
    manifest: Manifest | None
    gate: GateReport | None
    card: str
    released_by: str
    rollouts: tuple[tuple[int, str], ...]
    needed: tuple[str, ...]
    gaps: tuple[str, ...]


class VersionBook:
    """Reads what is known of versions. Thread-safe; the gate's reports never change and are read once."""

    def __init__(
        self,
        registry: Registry,
        versions: Versions,
        database: Database,
        now: Callable[[], float],
        lineage: Callable[[ReleasedVersion], LineageGraph],
    ) -> None:
        """`lineage` leads from a version to its runs, datasets and people."""
        self._registry, self._versions, self._database, self._now = registry, versions, database, now
        self._rollouts, self._alarms = Rollouts(database), Alarms(database)
        self._lineage = lineage
        self._reports: dict[str, GateReport | None] = {}
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def all(self) -> list[VersionFacts]:
        """Return every version, newest first."""
        stages, aliases = self._versions.stages(), defaultdict[str, list[str]](list)
        for alias in self._versions.aliases():
            aliases[alias.version].append(alias.alias)
        running = self._versions.running()
        return [
            VersionFacts(
                each,
                stages.get(each.version) or _unplaced(each),
                tuple(aliases[each.version]),
                self._brief(each),
                tuple(running.get(each.digest, ())),
                self._disk_bytes(each),
            )
            for each in self._registry.catalog.all()
        ]

    def to_choose_from(self) -> list[tuple[str, str]]:
        """Return the versions that may be rolled out, newest first, each with where it stands and its aliases."""
        usable = (VersionStage.CANDIDATE, VersionStage.CHAMPION, VersionStage.FORMER)
        return [
            (each.version, ", ".join(dict.fromkeys((each.stands.stage.value.lower(), *each.aliases))))
            for each in self.all()
            if each.stands.stage in usable
        ]

    def get(self, name: str) -> VersionDetail:
        """Return all that is known of a version or of what an alias means.

        Raises:
            NotFound: there is none.
        """
        version = self._registry.catalog.get(self._versions.resolve(name)).version
        facts = next(each for each in self.all() if each.version == version)
        gaps: list[str] = []
        manifest, card = None, ""
        try:
            manifest = read_manifest(self._registry, facts.released)
            card = read_card_bytes(self._registry, facts.released).decode("utf-8", "replace")
        except PlumblineError as error:
            gaps.append(f"its bundle cannot be read: {error.message}")
        report = self._report(facts.released)
        if report is None:
            gaps.append("it was released without a gate report, or that is gone")
        acts = release_acts(self._database, version)
        if acts and (why := acts[-1].detail.partition(OVERRIDDEN)[2]):
            gaps.insert(0, f"whether it is good enough: its gate was overridden by {acts[-1].actor}: {why}")
        bundles = {each.version: each.digest for each in self._registry.catalog.all()}
        uses = self._versions.uses(bundles, self._now())
        return VersionDetail(
            facts,
            manifest,
            report,
            card,
            acts[-1].actor if acts else "plumbline",
            tuple((each.id, each.state.value) for each in self._rollouts.all() if each.version == version),
            tuple(use.why for use in uses if use.bundle == facts.released.digest),
            tuple(gaps),
        )

    def lineage(self, version: str) -> LineageGraph:
        """Return where a version came from and where it went."""
        return self._lineage(self._registry.catalog.get(version))

    def report_page(self, name: str) -> bytes:
        """Return the gate's report for people, HTML.

        Raises:
            NotFound: there is no such version, or no report of it.
        """
        released = self._registry.catalog.get(self._versions.resolve(name))
        digest = released.report_page or _named_by_card(read_card_bytes(self._registry, released))
        if not digest:
            raise NotFound(f"version '{released.version}' has no gate report for people", hint="gate its run again")
        return self._registry.blobs.path(digest).read_bytes()

    def failed_runs(self) -> list[FailedRun]:
        """Return the retrains that led to no version, newest first."""
        return [
            FailedRun(each.id, each.series, each.reason, each.run, each.ended_at, *_trouble(each.figures))
            for each in reversed(self._alarms.retrains())
            if each.state == "failed"
        ]

    def _brief(self, released: ReleasedVersion) -> GateBrief | None:
        report = self._report(released)
        if report is None:
            return None
        failed = tuple(check.name for check in report.failures())
        card = report.card
        return GateBrief(report.passed, failed, len(report.checks), card.base.accuracy, card.median_ms)

    def _report(self, released: ReleasedVersion) -> GateReport | None:
        with self._lock:
            if released.digest in self._reports:
                return self._reports[released.digest]
        try:
            report = read_gate(self._registry, released)
        except PlumblineError:
            return None  # not remembered: a store that is away comes back
        with self._lock:
            while len(self._reports) >= _KEPT_REPORTS:
                self._reports.pop(next(iter(self._reports)))
            self._reports[released.digest] = report
        return report

    def _disk_bytes(self, released: ReleasedVersion) -> int:
        if released.state is ReleaseState.PRUNED:
            return 0
        model = released.full_precision
        if model and model not in self._sizes:
            try:
                self._sizes[model] = self._registry.blobs.size_of(model)
            except PlumblineError:
                return released.size_bytes
        return released.size_bytes + self._sizes.get(model, 0)


def _unplaced(released: ReleasedVersion) -> StageOf:
    return StageOf(released.version, VersionStage.CANDIDATE, "plumbline", "", released.created_at)


def _named_by_card(card: bytes) -> str:
    """Return the hash of the report that a model card names, "" for none: versions of before have it there alone."""
    for line in card.decode("utf-8", "replace").splitlines():
        if "(report.html)" in line:
            return next((word for word in line.replace("|", " ").replace("`", " ").split() if len(word) == 64), "")
    return ""


def _trouble(figures: str) -> tuple[str, GateReport | None]:
    try:
        found = msgspec.json.decode(figures, type=Mapping[str, msgspec.Raw])
        trouble = msgspec.json.decode(found["trouble"], type=str) if "trouble" in found else ""
        report = msgspec.json.decode(found["gate"], type=GateReport) if "gate" in found else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "what it measured cannot be read", None
    return trouble or "it broke; the server's log says where", report
