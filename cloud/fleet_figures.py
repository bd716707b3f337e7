"""The fleet's figures for Prometheus, from the tables. Few labels, and of few values: a fleet of 10,000 is no more to scrape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from cloud.needs_of_stations import SILENT
from cloud.ports.figures import Family, each, one
from cloud.ports.needs import Need
from cloud.ports.promises import Promises
from cloud.ports.registry import Releases
from cloud.registry.resign_status import ResignStatus
from cloud.rollout.evidence import read_evidence
from cloud.rollout.plan import read_plan
from cloud.store.fact_rows import FactRows
from cloud.store.metric_rows import MetricRows
from cloud.store.notices import Notices
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.errors import TransientError

_SITES = 200
_OTHER = "(others)"
_FATES = ("passed", "rejected", "dropped", "undecided")
# What is dear to count changes slowly.
_SLOW_S = 30.0


class FleetFigures:
    """`cloud.ports.figures.Figures`. `per_station`: of how many stations there are series by name, the worst first; 0: none.
    `why_lost` says why the database cannot be used just now: nothing of it is waited for then.
    """

    def __init__(
        self,
        *,
        rows: MetricRows,
        facts: FactRows,
        stations: Stations,
        summaries: Summaries,
        samples: Samples,
        rollouts: Rollouts,
        releases: Releases,
        notices: Notices,
        needs: Callable[[], Sequence[Need]],
        repository: Callable[[], ResignStatus] | None = None,
        promises: Promises | None = None,
        per_station: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
        why_lost: Callable[[], str] = str,
    ) -> None:
        self._rows, self._facts, self._stations, self._summaries = rows, facts, stations, summaries
        self._samples, self._rollouts, self._releases, self._notices = samples, rollouts, releases, notices
        self._needs, self._repository, self._promises = needs, repository, promises
        self._per_station, self._monotonic, self._why_lost = per_station, monotonic, why_lost
        self._slow: tuple[float, list[Family]] = (float("-inf"), [])

    def families(self) -> Iterable[Family]:
        """Return every figure.

        Raises:
            TransientError: the database cannot be read now.
        """
        if why := self._why_lost():
            raise TransientError(why)
        yield from self._of_needs()
        yield from self._of_stations()
        yield from self._of_drift()
        yield from self._of_rollouts()
        yield from self._of_alerts()
        yield from self._of_promises()
        at, kept = self._slow
        now = self._monotonic()
        if not 0.0 <= now - at < _SLOW_S:
            kept = [*self._of_people(), *self._of_store()]
            self._slow = now, kept
        yield from kept

    def _of_needs(self) -> Iterable[Family]:
        found = self._needs()
        counts = Counter((need.kind, need.severity.value) for need in found)
        samples = [({"kind": kind, "severity": severity}, float(n)) for (kind, severity), n in sorted(counts.items())]
        what = "What needs a person now, by kind and how soon (page, ticket, info)."
        yield Family("plumbline_cloud_needs", "gauge", what, samples)
        silent = sum(len(need.members) for need in found if need.kind == SILENT)
        what = "Stations not heard for longer than [alerts] silent_after_s, while the broker is reached."
        yield one("plumbline_cloud_stations_silent", "gauge", what, silent)

    def _of_stations(self) -> Iterable[Family]:
        counts = self._rows.stations()
        online = sum(n for (_, on), n in counts.items() if on)
        total = sum(counts.values())
        yield one("plumbline_cloud_stations", "gauge", "Stations that were added.", total)
        yield one("plumbline_cloud_stations_online", "gauge", "Of these, those that are connected.", online)
        yield one(
            "plumbline_cloud_strangers", "gauge", "Who speaks on the broker and was never added.",
            len(self._stations.strangers()),
        )  # fmt: skip
        yield _by_site(counts)
        yield each(
            "plumbline_cloud_stations_by_update_state", "gauge", "Stations by the state of their last update.",
            "state", self._rows.update_states(),
        )  # fmt: skip
        names = {release.digest: release.version for release in self._releases.all()}
        versions = Counter[str]()
        for digest, number in self._rows.bundles().items():
            versions[names.get(digest, _OTHER)] += number
        yield each(
            "plumbline_cloud_stations_by_version", "gauge", "Stations by the version they run.", "version", versions
        )
        totals = self._rows.totals()
        yield one("plumbline_cloud_summaries_total", "counter", "Summaries stored, of all time.", totals["summaries"])
        yield one(
            "plumbline_cloud_frames_captured_total", "counter", "Frames captured, of all time.", totals["captured"]
        )
        review = totals["decided"] - totals["passed"] - totals["rejected"]
        fates = {fate: float(totals[fate]) for fate in _FATES} | {"review": float(review)}
        what = "What became of the frames captured; they add up to plumbline_cloud_frames_captured_total."
        yield each("plumbline_cloud_frames_total", "counter", what, "fate", fates)
        what = "Summaries that were never received and that nothing covers."
        yield one("plumbline_cloud_summaries_missing", "gauge", what, totals["missing"])
        what = "Summaries refused since another device has their numbers, of all time."
        yield one("plumbline_cloud_conflicts_total", "counter", what, totals["conflicts"])
        what = "Times a station said that it lost data for good, of all time."
        yield one("plumbline_cloud_gaps_total", "counter", what, totals["gaps"])
        shown = self._rows.worst_stations(self._per_station) if self._per_station else []
        samples = [({"station": s.station, "site": s.site}, float(s.online)) for s in shown]
        yield Family("plumbline_cloud_station_online", "gauge", "1: this station is connected.", samples)
        samples = [({"station": s.station, "site": s.site}, s.heard_at) for s in shown if s.heard_at > 0]
        what = "When this station was last heard, Unix seconds."
        yield Family("plumbline_cloud_station_heard_timestamp_seconds", "gauge", what, samples)

    def _of_drift(self) -> Iterable[Family]:
        counts = self._rows.alarms()
        is_open = {cause: float(counts.get((cause, True), 0)) for cause, _ in counts}
        what = "Open drift alarms by cause, but those of revoked stations."
        yield each("plumbline_cloud_alarms_open", "gauge", what, "cause", is_open)
        # Not by cause: while an alarm is open its cause may turn out to be another one, and no counter may fall.
        yield one("plumbline_cloud_alarms_total", "counter", "Drift alarms raised, of all time.", sum(counts.values()))
        what = "Retrains by how they stand, of all time."
        yield each("plumbline_cloud_retrains", "gauge", what, "state", self._rows.retrains())

    def _of_rollouts(self) -> Iterable[Family]:
        yield each("plumbline_cloud_rollouts", "gauge", "Rollouts by state.", "state", self._rows.rollouts())
        live = self._rollouts.live()
        counts = self._facts.member_counts([r.id for r in live]) if live else {}
        waves: list[tuple[Mapping[str, str], float]] = []
        members: list[tuple[Mapping[str, str], float]] = []
        share: list[tuple[Mapping[str, str], float]] = []
        limit: list[tuple[Mapping[str, str], float]] = []
        held: list[tuple[Mapping[str, str], float]] = []
        for r in live:
            about = {"rollout": str(r.id), "version": r.version}
            evidence, plan = read_evidence(r.evidence), read_plan(r.plan)
            waves.append((about, float(r.wave + 1)))
            held.append((about, float(bool(r.hold))))
            limit.append((about, plan.max_failure))
            for bound, value in (
                ("share", evidence.failed / evidence.heard if evidence.heard else 0.0),
                ("lower", evidence.lower),
                ("upper", evidence.upper),
            ):
                share.append(({**about, "bound": bound}, value))
            states = Counter[str]()
            for (_, state), number in counts.get(r.id, {}).items():
                states[state] += number
            members += [({**about, "state": state}, float(n)) for state, n in sorted(states.items())]
        yield Family("plumbline_cloud_rollout_wave", "gauge", "The wave that a live rollout is in, from 1.", waves)
        yield Family("plumbline_cloud_rollout_held", "gauge", "1: a live rollout waits for something.", held)
        yield Family("plumbline_cloud_rollout_stations", "gauge", "Stations of a live rollout by state.", members)
        what = "Share of stations that failed in a live rollout (share), with its one-sided bounds (lower, upper)."
        yield Family("plumbline_cloud_rollout_failures", "gauge", what, share)
        what = "The share of failures at which a live rollout stops itself, once its lower bound passes it."
        yield Family("plumbline_cloud_rollout_failure_limit", "gauge", what, limit)

    def _of_alerts(self) -> Iterable[Family]:
        yield each(
            "plumbline_cloud_notices_open", "gauge", "Open notices by severity.", "severity", self._rows.notices()
        )
        posts = self._notices.posts_by_end()
        waiting = {channel: float(n) for (channel, end), n in posts.items() if end == "waiting"}
        channels = {channel for channel, _ in posts}
        what = "Messages that a channel has not taken yet."
        yield each(
            "plumbline_cloud_notice_posts_waiting", "gauge", what, "channel", {c: waiting.get(c, 0.0) for c in channels}
        )
        what = "Messages kept, by channel and how they ended (sent, given up); those of notices over for 90 days go."
        ended = [({"channel": c, "end": end}, float(n)) for (c, end), n in sorted(posts.items()) if end != "waiting"]
        yield Family("plumbline_cloud_notice_posts", "gauge", what, ended)

    def _of_promises(self) -> Iterable[Family]:
        counts = self._rows.promises()
        what = "Events that kept a promise, and all events of it (frames, minutes of stations), over the hours kept."
        good = {promise: float(each_good) for promise, (each_good, _) in counts.items()}
        total = {promise: float(each_all) for promise, (_, each_all) in counts.items()}
        yield each("plumbline_cloud_promise_good", "gauge", what, "promise", good)
        yield each("plumbline_cloud_promise_events", "gauge", what, "promise", total)
        budgets = self._promises.budgets() if self._promises is not None else []
        what = "The share of events that are to be good."
        yield each("plumbline_cloud_promise_target", "gauge", what, "promise", {b.promise: b.target for b in budgets})
        what = "The share of the error budget that is used up; 1 or more: all of it."
        yield each("plumbline_cloud_promise_spent", "gauge", what, "promise", {b.promise: b.spent for b in budgets})
        what = "How many times too fast the error budget was spent, over the last 1h and 6h."
        burn = [
            ({"promise": b.promise, "window": window}, float(value))
            for b in budgets
            for window, value in zip(("1h", "6h"), b.burn, strict=True)
        ]
        yield Family("plumbline_cloud_promise_burn", "gauge", what, burn)
        what = "What the fleet cost by kind (bytes, images, questions to the cloud), over the days kept."
        yield each("plumbline_cloud_cost", "gauge", what, "kind", self._rows.costs())

    def _of_people(self) -> Iterable[Family]:
        waiting, labelled = self._samples.counts()
        yield one("plumbline_cloud_review_waiting", "gauge", "Parts that wait for a label.", waiting)
        yield one("plumbline_cloud_review_disputed", "gauge", "Parts whose labels differ.", self._samples.disputed())
        yield one("plumbline_cloud_review_labelled", "gauge", "Parts with a label that stands.", labelled)
        what = "What people did about parts, of all time."
        yield each("plumbline_cloud_labels_total", "counter", what, "kind", self._rows.labels())

    def _of_store(self) -> Iterable[Family]:
        letters = self._summaries.dead_letter_count()
        yield one("plumbline_cloud_dead_letters", "gauge", "Messages that could not be stored.", letters)
        yield one("plumbline_cloud_database_bytes", "gauge", "Size of the database.", self._rows.database_bytes())
        ends = {kind: at for kind, at in self._rows.certificates().items() if at != float("inf")}
        what = "When the first of the newest certificates of a kind ends, Unix seconds."
        yield each("plumbline_cloud_certificate_end_timestamp_seconds", "gauge", what, "kind", ends)
        status = self._repository() if self._repository is not None else None
        roles = {role.role: role.expires_at for role in status.roles} if status is not None else {}
        what = "When a role's metadata of the image repository expires, Unix seconds."
        yield each("plumbline_cloud_signing_end_timestamp_seconds", "gauge", what, "role", roles)


def _by_site(counts: Mapping[tuple[str, bool], int]) -> Family:
    sites = Counter[str]()
    for (site, _), number in counts.items():
        sites[site] += number
    named = {site for site, _ in sites.most_common(_SITES)}
    found = Counter[tuple[str, str]]()
    for (site, on), number in counts.items():
        found[site if site in named else _OTHER, "online" if on else "offline"] += number
    samples = [({"site": site, "state": state}, float(number)) for (site, state), number in sorted(found.items())]
    what = f"Stations by site and whether they are connected; the {_SITES} largest sites by name."
    return Family("plumbline_cloud_site_stations", "gauge", what, samples)
