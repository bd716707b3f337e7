"""What the drift page shows, gathered from the detectors and the tables: plain values, read in a thread."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.api.drift import DriftControl, trace_of
from cloud.drift.causes import FAULTS, Cause, figure_in_words
from cloud.drift.trace import TracePoint
from cloud.ports.alarms import Alarm, Decided, Retrain
from cloud.store.alarms import Alarms
from cloud.store.drift_traces import DriftTraces
from cloud.store.samples import Samples

LISTED = 50
"""How many series of a kind the page lists; the others are found by their names."""

MOST_SHOWN = 12.0
"""Evidence beyond this power of ten is drawn as if it were it: no chart of 10^80 shows where it began."""

_MEMBERS = 12
_RETRAINS = 30


@dataclass(frozen=True, slots=True)
class DriftBooks:
    """What the page reads."""

    drift: DriftControl
    alarms: Alarms
    samples: Samples
    traces: DriftTraces
    now: Callable[[], float]


@dataclass(frozen=True, slots=True)
class AlarmView:
    """An open alarm. `doing`: what is being done about it, in words; `members`: the first who share it, where many do, of
    `members_in_all`.
    """

    alarm: Alarm
    members: tuple[str, ...]
    members_in_all: int
    doing: str
    may_retrain: bool


@dataclass(frozen=True, slots=True)
class RetrainView:
    """A retrain that was: for what, how it stands, and what it measured."""

    id: int
    series: str
    state: str
    started_at: float
    trigger: str
    reason: str
    version: str
    figures: str


@dataclass(frozen=True, slots=True)
class DriftView:
    """The whole fleet: open alarms first, then who drifts and who is still being learnt (the first `LISTED`, and how many)."""

    at: float
    watched: int
    alarms: tuple[AlarmView, ...]
    alarms_in_all: int
    alarmed: tuple[str, ...]
    alarmed_in_all: int
    enrolling: tuple[tuple[str, str], ...]
    enrolling_in_all: int
    retrains: tuple[RetrainView, ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One series: how it stands, its evidence over time, and what labels say of it."""

    series: str
    phase: str
    sentence: str
    evidence: tuple[str, ...]
    shared_by: tuple[str, ...]
    points: tuple[TracePoint, ...]
    threshold_log10: float
    audited: str
    estimated: str
    shares: str


def drift_view(books: DriftBooks) -> DriftView:
    """Return what the page shows of the fleet."""
    found, retrains = books.drift.overview(), books.alarms.retrains()
    decisions = {decided.series: decided for decided in books.alarms.decisions()}
    open_alarms = sorted(books.alarms.open(), key=lambda alarm: -alarm.opened_at)
    return DriftView(
        at=books.now(),
        watched=len(found.watched),
        alarms=tuple(_alarm(books, each, found.shared, retrains, decisions) for each in open_alarms[:LISTED]),
        alarms_in_all=len(open_alarms),
        alarmed=found.alarmed[:LISTED],
        alarmed_in_all=len(found.alarmed),
        enrolling=tuple((series, books.drift.drift_status(series)["sentence"]) for series in found.enrolling[:LISTED]),
        enrolling_in_all=len(found.enrolling),
        retrains=tuple(_retrain(each, books.alarms) for each in reversed(retrains[-_RETRAINS:])),
    )


def matching(books: DriftBooks, text: str) -> tuple[str, ...]:
    """Return up to `LISTED` series whose names hold `text`, those that begin with it first."""
    wanted = text.strip().casefold()
    found = [series for series in books.drift.overview().watched if wanted in series.casefold()]
    return tuple(sorted(found, key=lambda series: (not series.casefold().startswith(wanted), series))[:LISTED])


def series_view(books: DriftBooks, series: str) -> SeriesView | None:
    """Return what the page shows of one series, None where none of that name is watched."""
    if series not in books.drift.overview().watched:
        return None
    status = books.drift.drift_status(series)
    labels = status["labels"]
    return SeriesView(
        series=series,
        phase=status["phase"],
        sentence=status["sentence"],
        evidence=tuple(_evidence(each) for each in status["evidence"]),
        shared_by=tuple(status["shared_by"]),
        points=trace_of(books.traces, books.drift.newest_points, series),
        threshold_log10=books.drift.threshold_log10(),
        audited=_audited(labels["audit"], labels["disputed"]),
        estimated=_estimated(labels["atc"]),
        shares=labels["shares"]["sentence"],
    )


def chart_words(points: Sequence[TracePoint], threshold_log10: float) -> str:
    """Return in words what the chart of evidence shows."""
    if not points:
        return "No window has been judged yet: the chart begins once the camera's normal is learnt."
    last, most = points[-1], max(points, key=lambda point: point.held)
    over = [point for point in points if point.held >= threshold_log10]
    crossed = f"at or over that in {len(over)} of {len(points)} windows" if over else "never over that in this chart"
    beyond = f" More than 10^{MOST_SHOWN:.0f} is drawn as 10^{MOST_SHOWN:.0f}." if most.held > MOST_SHOWN else ""
    return (
        f"Evidence of a change is now 10^{last.held:.1f} and was at most 10^{most.held:.1f}; one camera alone is an alarm from "
        f"10^{threshold_log10:.1f} on, and it was {crossed}.{beyond}"
    )


def _alarm(
    books: DriftBooks,
    alarm: Alarm,
    shared: Mapping[str, tuple[str, ...]],
    retrains: Sequence[Retrain],
    decisions: Mapping[str, Decided],
) -> AlarmView:
    asked, came, labelled = books.samples.asked_and_given(alarm.id)
    mine = [retrain for retrain in retrains if retrain.alarm == alarm.id]
    under_way = any(retrain.ended_at is None for retrain in retrains)
    is_fault = Cause(alarm.cause) in FAULTS
    said = [f"{asked} parts asked for, {came} came, {labelled} labelled"]
    if mine:
        state = f"released as {mine[-1].version}" if mine[-1].state == "released" else mine[-1].state
        said.append(f"retrain {mine[-1].id}: {state}")
    decided = decisions.get(alarm.series)
    # That none is begun now goes without saying while one is under way.
    waits = decided is not None and not decided.go and any(retrain.ended_at is None for retrain in mine)
    if decided is not None and not waits:
        said.append(f"{'a retrain was decided' if decided.go else 'no retrain now'}: {decided.why}")
    elif not mine:
        said.append("whether to retrain is decided once labels are in")
    may_retrain = labelled > 0 and not under_way and not is_fault
    members = shared.get(alarm.series, ())
    return AlarmView(alarm, members[:_MEMBERS], len(members), "; ".join(said), may_retrain)


def _retrain(retrain: Retrain, alarms: Alarms) -> RetrainView:
    return RetrainView(
        retrain.id,
        retrain.series,
        retrain.state,
        retrain.started_at,
        retrain.trigger,
        retrain.reason,
        retrain.version,
        figures_in_words(retrain.figures),
    )


def figures_in_words(figures: str) -> str:
    """Return what a retrain measured (`Retrain.figures`, a JSON object) in a line; "" where nothing can be read."""
    try:
        told = json.loads(figures)
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    said = [f"{told['labels']} labels"] if isinstance(told.get("labels"), int) else []
    train = told.get("train")
    if isinstance(train, dict):
        numbers = [(name, value) for name, value in sorted(train.items()) if isinstance(value, float)]
        said += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers[:4] if math.isfinite(value)]
    gate = told.get("gate")
    if isinstance(gate, dict) and isinstance(gate.get("passed"), bool):
        said.append("passed the gate" if gate["passed"] else "did not pass the gate")
    said += [str(told[name]) for name in ("waits", "trouble") if told.get(name)]
    return "; ".join(said)


def _evidence(told: Mapping[str, Any]) -> str:
    figure, windows = figure_in_words(str(told["figure"])), int(told["windows"])
    return f"{figure} {float(told['z']):+.1f} sd from normal, for {windows} window{'' if windows == 1 else 's'}"


def _audited(audit: Mapping[str, Any] | None, disputed: int) -> str:
    parts = f"{disputed} part{'' if disputed == 1 else 's'}"
    if audit is None and disputed:
        return f"Accuracy on labels: not known; people disagree on all {parts} drawn at random and labelled."
    if audit is None:
        return "Accuracy on labels: none of this model's random parts is labelled yet."
    beside = f" People disagree on {parts} more: the interval holds however they are settled." if disputed else ""
    return (
        f"Accuracy on labels: {audit['estimate']:.2f} ({audit['low']:.2f} to {audit['high']:.2f}, 95 %) on "
        f"{audit['labels']} part{'' if audit['labels'] == 1 else 's'} drawn at random.{beside}"
    )


def _estimated(atc: Mapping[str, Any]) -> str:
    if atc["estimate"] is None:
        return f"Accuracy without labels: cannot be told ({atc['why']})."
    if not atc["valid"]:
        return f"Accuracy without labels: {atc['estimate']:.2f}, which is not to be trusted now: {atc['why']}."
    return f"Accuracy without labels: about {atc['estimate']:.2f}. It holds while what is seen looks as it did at enrolment."
