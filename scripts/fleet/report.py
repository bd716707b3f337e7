"""What came of a simulated run: every summary accounted for, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from scripts.fleet.databases import Rows
from scripts.fleet.station import Station
from scripts.fleet.tally import Tally
from scripts.fleet.watch import Peaks

# A summary that left so soon after it was made had a connection to leave by.
_AT_ONCE_S = 1.0


@dataclass(slots=True)
class Marks:
    """When things happened, in monotonic seconds; 0: not at all. `back_s`: the broker answered again."""

    started_s: float = 0.0
    outage_s: float = 0.0
    back_s: float = 0.0
    produced_s: float = 0.0
    drained_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Counts are of summaries. `lost`: sent once or more, or acknowledged, and not in the database after the drain. `double`: rows
    beyond the first, and rows of summaries that nobody made.

    `dropped`: came again and were not stored again (-1: the workers do not say). `unsent`: made and never sent, still kept.
    `kept`: not acknowledged in the end, `unsent` among them. `gaps`: sequences missing below the highest that is there.
    `unheard`: times that the broker said nobody was subscribed. Latencies are seconds to `dn/ack`, `ack_*` from first sending and
    `made_*` from making. `live_share`: of the summaries made while the backlog of the outage drained, by stations with a
    connection, those acknowledged within twice the 95th percentile of before the outage; -1 without an outage. `per_s_peak`:
    acknowledged in the best second.
    """

    connected_peak: int
    connections: int
    produced: int
    sent: int
    committed: int
    resent: int
    dropped: int
    lost: int
    double: int
    gaps: int
    unsent: int
    kept: int
    conflicts: int
    renewals: int
    refused: int
    unheard: int
    bad_messages: int
    ack_p50_s: float
    ack_p95_s: float
    ack_p99_s: float
    ack_max_s: float
    made_p50_s: float
    made_p95_s: float
    made_p99_s: float
    made_max_s: float
    live_share: float
    live_sent: int
    backlog: int
    backlog_drained_s: float
    normal_p95_s: float
    drain_s: float
    per_s_peak: int
    broker_rss_mb: float
    worker_rss_mb: float
    worker_cpu_s: float
    worker_cpu_s_per_1000: float
    fleet_lag_s: float

    @property
    def held(self) -> bool:
        """Whether nothing was lost, nothing is there twice, and everything that was made came through."""
        return self.lost == 0 and self.double == 0 and self.kept == 0

    def as_dict(self) -> dict[str, float]:
        """Return every figure by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def table(self) -> str:
        """Return the figures, one a line, and the verdict."""
        rows = [(name.replace("_", " "), _shown(figure)) for name, figure in self.as_dict().items()]
        widest, longest = max(len(name) for name, _ in rows), max(len(figure) for _, figure in rows)
        lines = [f"{name.ljust(widest)}  {figure.rjust(longest)}" for name, figure in rows]
        kept = f", {self.kept:,} never acknowledged" if self.kept else ""
        return "\n".join((*lines, "", f"{self.lost:,} lost, {self.double:,} double{kept}"))


def make_report(
    stations: Sequence[Station], tally: Tally, marks: Marks, rows: Rows, peaks: Peaks, worker_cpu_s: float, dropped: int
) -> Report:
    """Compare what was sent with what was committed."""
    unsent = {(s.name, s.boot, kept.seq) for s in stations for kept in s.kept() if kept.times == 0}
    kept = sum(station.waiting for station in stations)
    made = {(station.name, station.boot): station for station in stations}
    foreign = 0
    for name, boot, seq in rows.counts:
        station = made.get((name, boot))
        foreign += station is None or not 1 <= seq <= station.produced
    lost = 0
    for (name, boot), station in made.items():
        keys = ((name, boot, seq) for seq in range(1, station.produced + 1))
        lost += sum(key not in rows.counts and key not in unsent for key in keys)
    times = np.array([(d.produced_s, d.sent_s, d.acked_s) for d in tally.delivered()]).reshape(-1, 3)
    ack = _percentiles(times[:, 2] - times[:, 1])
    whole = _percentiles(times[:, 2] - times[:, 0])
    live = _live_share(times, marks, stations)
    committed = len(rows.counts) - foreign
    return Report(
        connected_peak=tally.connected_peak,
        connections=tally.connections,
        produced=tally.produced,
        sent=tally.sent,
        committed=committed,
        resent=tally.resent,
        dropped=dropped,
        lost=lost,
        double=rows.double + foreign,
        gaps=rows.gaps(),
        unsent=len(unsent),
        kept=kept,
        conflicts=tally.conflicts,
        renewals=tally.renewals,
        refused=tally.refused,
        unheard=tally.unheard,
        bad_messages=tally.bad_packets + tally.acked_unknown,
        ack_p50_s=ack[0],
        ack_p95_s=ack[1],
        ack_p99_s=ack[2],
        ack_max_s=ack[3],
        made_p50_s=whole[0],
        made_p95_s=whole[1],
        made_p99_s=whole[2],
        made_max_s=whole[3],
        live_share=live.share,
        live_sent=live.sent,
        backlog=live.backlog,
        backlog_drained_s=live.drained_s,
        normal_p95_s=live.normal_s,
        drain_s=marks.drained_s - marks.produced_s,
        per_s_peak=max(tally.per_second.values(), default=0),
        broker_rss_mb=peaks.broker_mb,
        worker_rss_mb=peaks.worker_mb,
        worker_cpu_s=worker_cpu_s,
        worker_cpu_s_per_1000=worker_cpu_s / max(committed, 1) * 1000,
        fleet_lag_s=peaks.lag_s,
    )


@dataclass(frozen=True, slots=True)
class _Live:
    share: float = -1.0
    sent: int = 0
    backlog: int = 0
    drained_s: float = 0.0
    normal_s: float = 0.0


def _live_share(times: NDArray[np.float64], marks: Marks, stations: Sequence[Station]) -> _Live:
    if not marks.back_s:
        return _Live()
    produced, sent, acked = times.T
    whole = acked - produced
    before = whole[acked < marks.outage_s]
    normal_s = float(np.percentile(before, 95)) if before.size else 0.0
    # What was made before the broker came back and acknowledged after it is the backlog; with its last, the drain is over.
    backlog = (produced < marks.back_s) & (acked >= marks.back_s)
    ends_s = float(acked[backlog].max()) if backlog.any() else marks.back_s
    at_once = (produced >= marks.back_s) & (produced <= ends_s) & (sent - produced <= _AT_ONCE_S)
    in_time = at_once & (whole <= 2.0 * normal_s)
    never = sum(
        kept.times > 0 and marks.back_s <= kept.produced_s <= ends_s and kept.sent_s - kept.produced_s <= _AT_ONCE_S
        for station in stations
        for kept in station.kept()
    )
    asked = int(at_once.sum()) + never
    share = float(in_time.sum()) / asked if asked else 1.0
    return _Live(share, asked, int(backlog.sum()), ends_s - marks.back_s, normal_s)


def _percentiles(seconds: NDArray[np.float64]) -> tuple[float, float, float, float]:
    if not seconds.size:
        return 0.0, 0.0, 0.0, 0.0
    p50, p95, p99 = (float(p) for p in np.percentile(seconds, (50, 95, 99)))
    return p50, p95, p99, float(seconds.max())


def _shown(figure: float) -> str:
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:,.3f}"
