"""A rollout on a page: its waves as bars, its bounds against their limits, and what it waits for."""

from __future__ import annotations

from nicegui import ui

from cloud.dashboard.parts import Tone, ago, badge, count, heading, words
from cloud.dashboard.rollouts_view import Gauge, RolloutView
from cloud.rollout.waves_shown import WaveShown

# What each part of a bar is called, and its colour; the words beside the bar say the same.
_PARTS: tuple[tuple[str, str], ...] = (
    ("committed", "var(--pl-good)"),
    ("failed", "var(--pl-bad)"),
    ("silent", "var(--pl-warn)"),
    ("under_way", "var(--pl-info)"),
    ("offline", "var(--pl-muted)"),
    ("recalled", "repeating-linear-gradient(45deg, var(--pl-bad) 0 4px, transparent 4px 8px)"),
    ("back", "repeating-linear-gradient(45deg, var(--pl-warn) 0 4px, transparent 4px 8px)"),
    ("out", "repeating-linear-gradient(45deg, var(--pl-plain) 0 2px, transparent 2px 8px)"),
)
_TONES = {
    Tone.GOOD: "var(--pl-good)",
    Tone.WARN: "var(--pl-warn)",
    Tone.BAD: "var(--pl-bad)",
    Tone.INFO: "var(--pl-info)",
    Tone.PLAIN: "var(--pl-plain)",
}


class RolloutCard:
    """Draws a rollout once and changes what has changed. It holds no buttons, so that no refresh takes the focus from one."""

    def __init__(self) -> None:
        self._shown: RolloutView | None = None
        with ui.row().classes("items-baseline gap-3"):
            self._title = heading("", 2).classes("pl-break rollout-title")
            self._state = badge("", Tone.PLAIN)
            self._state.element.classes("rollout-state").props('role="status"')
        self._sentence = words("").classes("font-medium rollout-sentence")
        self._people = words("", muted=True).classes("rollout-people")
        self._waves = ui.column().classes("w-full gap-2 rollout-waves").props('role="list" aria-label="Waves"')
        self._gauges = ui.column().classes("w-full gap-2 rollout-bounds").props('role="list" aria-label="Bounds"')
        self._notes = ui.column().classes("w-full gap-0 rollout-notes")

    def show(self, view: RolloutView, now: float) -> None:
        """Show a rollout as it is at `now`."""
        over = f", over since {ago(now, view.ended_at)}" if view.ended_at is not None else ""
        self._people.set_text(f"{count(view.stations, 'station')}; {view.people} {ago(now, view.began_at)}{over}.")
        before, self._shown = self._shown, view
        if before == view:
            return
        self._title.set_text(view.title)
        self._state.show(view.state.value, view.tone)
        self._sentence.set_text(view.sentence)
        if before is None or before.waves != view.waves:
            self._waves.clear()
            with self._waves:
                for wave in view.waves:
                    _wave(wave)
        if before is None or before.gauges != view.gauges:
            self._gauges.clear()
            with self._gauges:
                for gauge in view.gauges:
                    _gauge(gauge)
        if before is None or (before.notes, before.rules) != (view.notes, view.rules):
            self._notes.clear()
            with self._notes:
                for note in (*view.notes, view.rules):
                    if note:
                        words(note, muted=True)


def _wave(wave: WaveShown) -> None:
    with ui.element("div").props('role="listitem"').classes("w-full wave"):
        with ui.row().classes("w-full items-baseline justify-between gap-2"):
            words(wave.name).classes("font-medium")
            words(wave.in_words(), muted=True)
        with (
            ui.element("div")
            .props('aria-hidden="true"')
            .classes("w-full flex rounded overflow-hidden")
            .style("height: .8rem; background: var(--pl-plain-ground); border: 1px solid var(--pl-line)")
        ):
            for name, colour in _PARTS:
                if wave.stations and (part := getattr(wave, name)):
                    width = 100.0 * part / wave.stations
                    ui.element("div").style(f"width: {width:.3f}%; min-width: 3px; background: {colour}")


def _gauge(gauge: Gauge) -> None:
    with ui.element("div").props('role="listitem"').classes("w-full"):
        words(gauge.words)
        if not gauge.known:
            return
        with (
            ui.element("div")
            .props('aria-hidden="true"')
            .classes("w-full")
            .style("position: relative; height: .7rem; background: var(--pl-plain-ground); border-radius: 4px")
        ):
            left, right = _at(gauge, gauge.lower), _at(gauge, gauge.upper)
            ui.element("div").style(
                f"position: absolute; top: 30%; height: 40%; left: {left:.2f}%; width: {max(right - left, 0.4):.2f}%;"
                f" background: {_TONES[gauge.tone]}; opacity: .55"
            )
            for value, width, colour in (
                (gauge.value, 4, _TONES[gauge.tone]),
                (gauge.limit, 2, "var(--pl-text)"),
            ):
                ui.element("div").style(
                    f"position: absolute; top: 0; height: 100%; left: calc({_at(gauge, value):.2f}% - {width / 2}px);"
                    f" width: {width}px; background: {colour}"
                )


def _at(gauge: Gauge, value: float) -> float:
    return 100.0 * min(1.0, max(0.0, value / gauge.top))
