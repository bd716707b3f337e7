"""What a station sees, answers and takes: the charts of its page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nicegui import ui

from cloud.dashboard import station_charts as drawn
from cloud.dashboard.parts import Cell, Column, Kind, Page, Tone, card, chart, count, paged_table, words
from cloud.dashboard.station_figures import NAMES, RANGE_SD, StationFigures

_SPANS = {6.0: "the last 6 hours", 24.0: "the last day", 168.0: "the last week"}
_MOST_WINDOWS = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is shown: of which camera, over how many hours, and at most how many windows."""

    camera: str = ""
    hours: float = 24.0
    most: int = _MOST_WINDOWS


@dataclass(frozen=True, slots=True)
class SketchesFound:
    """What was read. `enrolled`: there is a normal to hold it against."""

    figures: StationFigures
    labels: Sequence[str]
    enrolled: bool


class Sketches:
    """The charts, and the choice of what they show."""

    def __init__(self, look_again: Callable[[], Awaitable[None]]) -> None:
        self.asked = Asked()
        self._look_again = look_again
        self._statistic = NAMES.index("sharpness")
        self._found: SketchesFound | None = None
        with ui.row().classes("items-end gap-3"):
            self._span = ui.select(_SPANS, label="Time shown", value=24.0).props("outlined dense").classes("w-48")
            self._camera = (
                ui.select({"": "first camera"}, label="Camera", value="").props("outlined dense").classes("w-48")
            )
            self._camera.set_visibility(False)
            self._headline = words("", muted=True)
        self._span.on_value_change(lambda event: self._ask(replace(self.asked, hours=float(event.value))))
        self._camera.on_value_change(lambda event: self._ask(replace(self.asked, camera=str(event.value or ""))))
        with (
            ui.element("div")
            .classes("grid gap-4 w-full")
            .style("grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr))")
        ):
            with card("What it sees now, against its normal (in sd)"):
                self._against = chart("What it sees now, against its normal", height="19rem")
                with ui.expansion("As a table").classes("w-full"):
                    self._table = paged_table(
                        "statistics",
                        (
                            Column("name", "Statistic"),
                            Column("now", "Now"),
                            Column("range", f"Range (±{RANGE_SD:.0f} sd)"),
                            Column("z", "From the middle"),
                            Column("state", "", Kind.BADGE),
                        ),
                        title="What it sees now, against its normal",
                        nothing="Nothing to compare yet.",
                    )
            with card("One statistic, now and before (in sd)"):
                options = dict(enumerate(NAMES))
                self._which = ui.select(options, label="Statistic", value=self._statistic).props("outlined dense")
                self._which.classes("w-48").on_value_change(lambda event: self._choose(int(event.value)))
                self._histogram = chart("One statistic, now and before", height="15rem")
            with card("Verdicts over time"):
                self._verdicts = chart("Verdicts over time")
            with card("Answers now"):
                self._labels = chart("Answers now")
            with card("Latency"):
                self._latency = chart("Latency")
            with card("How the station fares"):
                self._health = chart("How the station fares")

    def show(self, found: SketchesFound) -> None:
        """Draw what was read."""
        self._found = found
        figures = found.figures
        self._offer_cameras(figures.cameras)
        unreadable = (
            f"; {figures.unreadable:,} are of a version that this one cannot read" if figures.unreadable else ""
        )
        self._headline.set_text(f"{count(figures.windows, 'window')} in {_SPANS[self.asked.hours]}{unreadable}")
        self._show_statistics(found)
        self._show_histogram(figures)
        points = figures.points
        named = drawn.named_labels(figures.labels, found.labels)
        for place, build, summary, there in (
            (self._verdicts, partial(drawn.verdicts_chart, points=points), drawn.verdicts_words(points), bool(points)),
            (self._latency, partial(drawn.latency_chart, points=points), drawn.latency_words(points),
             drawn.has_latency(points)),
            (self._health, partial(drawn.health_chart, points=points), drawn.health_words(points),
             drawn.has_health(points)),
            (self._labels, partial(drawn.labels_chart, counts=named), drawn.labels_words(named), any(figures.labels)),
        ):  # fmt: skip
            if there:
                place.show(build, summary)
            else:
                place.say(summary)

    def _show_statistics(self, found: SketchesFound) -> None:
        figures = found.figures
        if not figures.statistics:
            why = (
                "It has sent no sketch in this time." if not figures.frames_now else "It is still learning its normal."
            )
            self._against.say(why)
        else:
            said = drawn.statistics_words(figures.statistics, figures.frames_now)
            self._against.show(partial(drawn.statistics_chart, found=figures.statistics), said)
        rows: list[dict[str, Cell]] = [
            {
                "name": each.name,
                "now": f"{each.now:.4f}",
                "range": f"{each.low:.4f} to {each.high:.4f}",
                "z": f"{each.z:+.1f} sd",
                "state": ("in range", Tone.GOOD) if each.inside else ("out of range", Tone.BAD),
            }
            for each in figures.statistics
        ]
        self._table.show(Page(rows, len(rows)))

    def _show_histogram(self, figures: StationFigures) -> None:
        number = self._statistic
        if not figures.frames_now:
            self._histogram.say("It has sent no sketch in this time.")
            return
        build = partial(drawn.histogram_chart, figures=figures, number=number)
        self._histogram.show(build, drawn.histogram_words(figures, number))

    def _offer_cameras(self, cameras: Sequence[str]) -> None:
        offered = {name: name or "first camera" for name in (*cameras, self.asked.camera)}
        self._camera.set_visibility(len(offered) > 1)
        if offered != self._camera.options:
            self._camera.set_options(offered, value=self.asked.camera)
        # A station whose only camera has a name is shown by that one.
        if cameras and self.asked.camera not in cameras:
            self._camera.set_value(cameras[0])

    async def _ask(self, asked: Asked) -> None:
        if asked != self.asked:
            self.asked = asked
            await self._look_again()

    def _choose(self, number: int) -> None:
        self._statistic = number
        if self._found is not None:
            self._show_histogram(self._found.figures)
