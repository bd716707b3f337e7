"""What is known of a station itself, in words: its update, its settings, what it lost, its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui

from cloud.dashboard.parts import Tone, ago, badge, card, count, words
from cloud.dashboard.station_charts import clock
from cloud.ports.stations import StationStatus
from cloud.store.certificates import CertificateRow
from cloud.store.station_history import BootSequences, GapRow
from contract.config_states import ConfigState
from contract.update_states import UpdateState

_ENDS_SOON_S = 14 * 86_400.0
_SHOWN = 5

_UPDATES = {
    UpdateState.IDLE: ("nothing to do", Tone.PLAIN),
    UpdateState.META: ("an order came; it asks for the bundle", Tone.INFO),
    UpdateState.DOWNLOAD: ("it fetches the bundle", Tone.INFO),
    UpdateState.STAGED: ("the bundle is there, verified", Tone.INFO),
    UpdateState.SELFTEST: ("it tests the bundle on itself", Tone.INFO),
    UpdateState.TRIAL: ("the candidate decides unseen beside the one in charge", Tone.INFO),
    UpdateState.PROBATION: ("the candidate is in charge, and watched", Tone.INFO),
    UpdateState.COMMITTED: ("it keeps its bundle", Tone.GOOD),
    UpdateState.ROLLED_BACK: ("it went back to the bundle before", Tone.BAD),
}
_SETTINGS = {
    ConfigState.IDLE: ("nothing to do", Tone.PLAIN),
    ConfigState.CHECKED: ("new settings came", Tone.INFO),
    ConfigState.TRIAL: ("it starts anew with them", Tone.INFO),
    ConfigState.PROBATION: ("it runs with them, and is watched", Tone.INFO),
    ConfigState.COMMITTED: ("it keeps them", Tone.GOOD),
    ConfigState.ROLLED_BACK: ("it went back to the settings before", Tone.BAD),
    ConfigState.REFUSED: ("it does not follow them", Tone.BAD),
}


@dataclass(frozen=True, slots=True)
class StationFacts:
    """One moment. `version` is what people call its bundle; `missing` counts summaries that never came."""

    now: float
    status: StationStatus
    missing: int
    version: str
    boots: tuple[BootSequences, ...]
    gaps: tuple[GapRow, ...]
    certificates: tuple[CertificateRow, ...]


Line = tuple[str, str, Tone | None]
"""(what it is about, what is so, its tone where it has one)"""


class FactsCard:
    """Four cards, drawn anew when what they say changes."""

    def __init__(self) -> None:
        self._places: dict[str, ui.column] = {}
        self._shown: dict[str, Sequence[Line]] = {}
        for title in ("Update", "Settings", "What was lost", "Certificate"):
            with card(title):
                self._places[title] = ui.column().classes("gap-1 w-full")

    def show(self, facts: StationFacts) -> None:
        """Say what is so."""
        said = {
            "Update": update_lines(facts),
            "Settings": settings_lines(facts),
            "What was lost": lost_lines(facts),
            "Certificate": certificate_lines(facts),
        }
        for title, lines in said.items():
            if self._shown.get(title) != lines:
                self._shown[title] = lines
                self._places[title].clear()
                with self._places[title]:
                    for what, is_so, tone in lines:
                        _line(what, is_so, tone)


def update_lines(facts: StationFacts) -> list[Line]:
    """Return how its last update went, in words, with its own words and times."""
    status = facts.status
    if not status.update_state:
        return [("", "It has reported no update yet.", None)]
    known = next((state for state in UpdateState if state.value == status.update_state), None)
    meaning, tone = _UPDATES[known] if known is not None else ("of a newer agent", Tone.PLAIN)
    lines: list[Line] = [("", f"{status.update_state}: {meaning}", tone)]
    if status.reason:
        lines.append(("Why", status.reason, None))
    if status.outcome:
        lines.append(("Outcome", status.outcome, None))
    lines.append(("Runs", f"{facts.version or 'nothing'} ({status.bundle[:12] or 'no bundle'})", None))
    if status.candidate and status.candidate != status.bundle:
        lines.append(("Candidate", status.candidate[:12], None))
    lines.append(("Deployment", f"{status.deployment or 'none'}, order {status.desired_seq}", None))
    lines.append(("Reported", f"{clock(status.reported_at)} UTC", None))
    return lines


def settings_lines(facts: StationFacts) -> list[Line]:
    """Return how its remote settings stand."""
    status = facts.status
    if not status.config_state:
        return [("", "It runs with its own agent.toml; no settings were sent to it.", None)]
    known = next((state for state in ConfigState if state.value == status.config_state), None)
    meaning, tone = _SETTINGS[known] if known is not None else ("of a newer agent", Tone.PLAIN)
    lines: list[Line] = [("", f"{status.config_state}: {meaning}", tone)]
    if status.config_reason:
        lines.append(("Why", status.config_reason, None))
    in_force = status.configuration[:12] or "none: its own agent.toml"
    lines.append(("In force", in_force, None))
    lines.append(("Order", f"{status.config_deployment or 'none'}, number {status.config_seq}", None))
    return lines


def lost_lines(facts: StationFacts) -> list[Line]:
    """Return which summaries never came, and what it gave up for good."""
    lines: list[Line] = []
    if facts.missing:
        lines.append(("", f"{count(facts.missing, 'summary', 'summaries')} never came", Tone.BAD))
    for boot in [boot for boot in facts.boots if boot.missing][:_SHOWN]:
        ranges = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in boot.missing[:_SHOWN])
        more = f" and {len(boot.missing) - _SHOWN} more ranges" if len(boot.missing) > _SHOWN else ""
        lines.append(("Missing", f"{ranges}{more} of boot {boot.boot[:12]} (it is at {boot.highest})", None))
    for gap in facts.gaps[:_SHOWN]:
        signed = "" if gap.verified else ", not signed by it"
        camera = f" of {gap.camera}" if gap.camera else ""
        what = f"{count(gap.windows, 'window')}{camera} given up: {gap.why}{signed}"
        lines.append((f"{clock(gap.received_at)} UTC", what, None))
    return lines or [("", "Nothing: every summary came.", Tone.GOOD)]


def certificate_lines(facts: StationFacts) -> list[Line]:
    """Return until when its certificate counts."""
    counting = [each for each in facts.certificates if each.counts(facts.now)]
    if not facts.certificates:
        return [
            ("", "It has none of this plant: its broker is not secured by certificates, or it never enrolled.", None)
        ]
    if counting:
        newest = max(counting, key=lambda each: each.not_after)
        left = newest.not_after - facts.now
        soon = left < _ENDS_SOON_S
        what = f"counts until {clock(newest.not_after)} UTC ({left / 86_400:.0f} days)"
        return [("", what, Tone.WARN if soon else Tone.GOOD), ("Serial", newest.serial, None)]
    last = max(facts.certificates, key=lambda each: each.issued_at)
    hint = f"Let it in again: plumbline-cloud provision token {last.subject}"
    if last.revoked_at is not None:
        why = f": {last.reason}" if last.reason else ""
        return [("", f"revoked {ago(facts.now, last.revoked_at)}{why}", Tone.BAD), ("What to do", hint, None)]
    return [("", f"ended {ago(facts.now, last.not_after)}", Tone.BAD), ("What to do", hint, None)]


def _line(what: str, is_so: str, tone: Tone | None) -> None:
    with ui.row().classes("gap-2 items-baseline no-wrap w-full"):
        if what:
            words(what, muted=True).classes("w-36 shrink-0")
        if tone is None:
            words(is_so)
        else:
            badge(is_so, tone)
