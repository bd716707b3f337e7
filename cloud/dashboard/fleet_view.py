"""What the fleet page shows, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloud.ports.registry import Releases
from cloud.registry.resign_status import ResignStatus
from cloud.store.alarms import Alarms
from cloud.store.audit import AuditLog
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries

# A page is read by a person: older alarms and rollouts are behind the API.
_NEWEST = 20


@dataclass(frozen=True, slots=True)
class FleetView:
    """One moment of the fleet; each table is a list of rows keyed by column. `simulated` names stations without a camera.

    `strangers` names who speaks on the broker and was never added. `signing` says what somebody must see to so that stations go on
    taking updates, "" for nothing.
    """

    simulated: list[str]
    strangers: list[str]
    broker_connected: bool
    online: int
    alarms_open: int
    review_waiting: int
    review_labelled: int
    dead_letters: int
    stations: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    rollouts: list[dict[str, Any]]
    acts: list[dict[str, Any]]
    signing: str = ""
    review_disputed: int = 0


def fleet_view(
    *,
    stations: Stations,
    summaries: Summaries,
    samples: Samples,
    alarms: Alarms,
    rollouts: Rollouts,
    releases: Releases,
    audit: AuditLog,
    drift_of: Callable[[str], list[dict[str, Any]]],
    broker_connected: bool,
    now: float,
    repository: ResignStatus | None = None,
) -> FleetView:
    """Return the fleet as it is now."""
    names = {r.digest: r.version for r in releases.all()}
    totals = {t.station: t for t in summaries.totals()}
    rows = []
    status = stations.status()
    for s in status:
        t, drift = totals.get(s.station), drift_of(s.station)
        rows.append(
            {
                "station": s.station,
                "link": "online" if s.online else "offline",
                "model": names.get(s.bundle, s.bundle[:12]) or "none yet",
                "update": s.update_state + (f": {s.reason}" if s.reason else ""),
                "drift": _drift_in_words(drift),
                "phase": drift[0]["phase"],
                "frames": t.captured if t else 0,
                "pass": t.passed if t else 0,
                "reject": t.rejected if t else 0,
                "review": t.decided - t.passed - t.rejected if t else 0,
                "missing": t.missing_seqs if t else 0,
                "heard": _ago(now, s.summary_at),
            }
        )
    waiting, labelled = samples.counts()
    every_alarm = alarms.all()
    answers = {r.alarm: f"{r.state} {r.version}".strip() for r in alarms.retrains()}
    decisions = alarms.decisions()
    not_yet = {d.series: f"not yet: {d.why}" for d in decisions if not d.go}
    return FleetView(
        simulated=[s.station for s in status if s.simulated],
        strangers=stations.strangers(),
        broker_connected=broker_connected,
        online=sum(s.online for s in status),
        alarms_open=sum(a.closed_at is None for a in every_alarm),
        review_waiting=waiting,
        review_labelled=labelled,
        review_disputed=samples.disputed(),
        dead_letters=summaries.dead_letter_count(),
        stations=rows,
        alarms=[
            {
                "alarm": a.id,
                "station": a.series,
                "since": _ago(now, a.opened_at),
                "state": "open" if a.closed_at is None else f"closed: {a.closed_why}",
                "what": a.sentence,
                "answer": answers.get(a.id, not_yet.get(a.series, "none yet") if a.closed_at is None else "none"),
            }
            for a in every_alarm[: -_NEWEST - 1 : -1]
        ],
        decisions=[
            {
                "series": d.series,
                "decision": "retrain" if d.go else "not now",
                "called": d.trigger or "nothing",
                "reason": d.why,
                "decided": _ago(now, d.at),
            }
            for d in sorted(decisions, key=lambda d: -d.at)[:_NEWEST]
        ],
        rollouts=[
            {
                "rollout": r.id,
                "version": r.version,
                "state": r.state.value,
                "stations": ", ".join(f"{m.station} {m.state.value.lower()}" for m in rollouts.members(r.id)),
                "why": r.reason,
            }
            for r in rollouts.all()[: -_NEWEST - 1 : -1]
        ],
        acts=[
            {"id": e.id, "when": _ago(now, e.at), "who": e.actor, "act": e.act, "detail": e.detail}
            for e in reversed(audit.entries(15))
        ],
        signing=repository.in_words() if repository else "",
    )


def _drift_in_words(cameras: list[dict[str, Any]]) -> str:
    """Return one sentence for the only camera, else one a camera, alarmed ones first; each with what its labels say."""
    if len(cameras) == 1 and not cameras[0]["camera"]:
        return _with_labels(cameras[0])
    return " · ".join(f"{each['camera'] or 'first camera'}: {_with_labels(each)}" for each in cameras)


def _with_labels(camera: dict[str, Any]) -> str:
    return " | ".join(filter(None, (camera["sentence"], camera["labels"]["sentence"])))


def _ago(now: float, at: float) -> str:
    if at <= 0:
        return "never"
    seconds = max(0.0, now - at)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{seconds:.0f} s ago"
