"""The server's own figures for Prometheus: what comes in, its loops, its link, its disks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cloud
from cloud.ingest_loop import IngestLoop
from cloud.loop_counts import LoopCounts
from cloud.ports.figures import Family, each, one
from cloud.ports.link import Link
from contract.errors import TransientError


class ServerFigures:
    """`cloud.ports.figures.Figures`. `ingest` None: workers take messages in, and what they do is not counted here.

    None of it reads a table: what is told while the database is away must not be left out for that.
    """

    def __init__(
        self,
        *,
        loops: LoopCounts,
        link: Link,
        ingest: IngestLoop | None,
        arrivals_waiting: Callable[[], int],
        disks: Mapping[str, Path],
        drift_phases: Callable[[], Mapping[str, float]],
        monotonic: Callable[[], float],
        database_away_s: Callable[[], float],
    ) -> None:
        self._loops, self._link, self._ingest = loops, link, ingest
        self._arrivals_waiting, self._disks, self._drift_phases = arrivals_waiting, disks, drift_phases
        self._monotonic, self._database_away_s = monotonic, database_away_s

    def families(self) -> Iterable[Family]:
        """Return every figure."""
        about = [({"version": cloud.__version__}, 1.0)]
        yield Family("plumbline_cloud_info", "gauge", "Which version this server is.", about)
        yield one("plumbline_cloud_broker_connected", "gauge", "1: the broker is reached.", self._link.connected())
        what = "Connections made to the broker since the start."
        yield one("plumbline_cloud_broker_connections_total", "counter", what, self._link.connections())
        away_s = self._database_away_s()
        what = "1: the database can be read and written."
        yield one("plumbline_cloud_database_usable", "gauge", what, away_s == 0.0)
        what = "Seconds that the database could not be read or written, up to now; 0 while it can."
        yield one("plumbline_cloud_database_away_seconds", "gauge", what, away_s)
        if self._ingest is not None:
            yield from self._of_ingest(self._ingest)
        what = "Series (cameras) that drift is watched on, by phase: enrolling, quiet, alarmed."
        yield each("plumbline_cloud_drift_series", "gauge", what, "phase", self._drift_phases())
        yield from self._of_loops()
        yield from self._of_disks()

    def _of_ingest(self, ingest: IngestLoop) -> Iterable[Family]:
        counts = ingest.counts
        for name, value, what in (
            ("committed", counts.committed, "Summaries stored by this server since its start."),
            ("duplicates", counts.duplicates, "Summaries that were stored already."),
            ("conflicts", counts.conflicts, "Summaries whose numbers have another content."),
            ("dead", counts.dead, "Messages that could not be stored."),
            ("batches", counts.batches, "Batches stored."),
            ("commit_seconds", counts.commit_s, "Seconds spent storing batches, failed tries included."),
        ):
            yield one(f"plumbline_cloud_ingest_{name}_total", "counter", what, value)
        what = "Summaries that a station may send before it hears again (1 to 100): low when the cloud is busy."
        yield one("plumbline_cloud_ingest_credit", "gauge", what, ingest.credit())
        what = "Messages that arrived and wait to be stored."
        yield one("plumbline_cloud_ingest_waiting", "gauge", what, self._arrivals_waiting())

    def _of_loops(self) -> Iterable[Family]:
        loops, now = self._loops.all(), self._monotonic()
        since = {e.name: e.turned_at if e.busy_since is None else e.busy_since for e in loops if not e.endless}
        lags = {name: now - at for name, at in since.items()}
        what = "Seconds that a loop's turn at hand has lasted, or since the last one ended."
        yield each("plumbline_cloud_loop_lag_seconds", "gauge", what, "loop", lags)
        what = "Seconds that a loop's last turn took."
        yield each("plumbline_cloud_loop_turn_seconds", "gauge", what, "loop", {e.name: e.took_s for e in loops})
        what = "Turns of a loop since the start."
        yield each("plumbline_cloud_loop_turns_total", "counter", what, "loop", {e.name: e.turns for e in loops})
        what = "Turns in which something broke that no retry mends."
        yield each("plumbline_cloud_loop_faults_total", "counter", what, "loop", {e.name: e.faults for e in loops})

    def _of_disks(self) -> Iterable[Family]:
        free, size = {}, {}
        for what, path in self._disks.items():
            try:
                usage = shutil.disk_usage(path)
            except OSError:
                continue
            free[what], size[what] = float(usage.free), float(usage.total)
        yield each("plumbline_cloud_disk_free_bytes", "gauge", "Free bytes on the server's disks.", "disk", free)
        yield each("plumbline_cloud_disk_size_bytes", "gauge", "Size of the server's disks.", "disk", size)


class EvidenceFigures:
    """`cloud.ports.figures.Figures`. `evidence` asks the tables who is revoked: a part of its own, which is missing without them.
    `why_lost` says why the database cannot be used just now: it is not waited for then.
    """

    def __init__(self, evidence: Callable[[], Mapping[str, float]], why_lost: Callable[[], str]) -> None:
        self._evidence, self._why_lost = evidence, why_lost

    def families(self) -> Iterable[Family]:
        """Return the figure.

        Raises:
            TransientError: the database cannot be read now.
        """
        if why := self._why_lost():
            raise TransientError(why)
        what = "Series (cameras) with this share of the evidence that an alarm takes, or more; not of revoked stations."
        yield each("plumbline_cloud_drift_evidence_series", "gauge", what, "share", self._evidence())
