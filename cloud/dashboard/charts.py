"""Charts, drawn in the browser by ECharts (which comes with NiceGUI), each with its words beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments, Handler

from cloud.dashboard.theme import Palette, Recoloured, palette

Build = Callable[[Palette], dict[str, Any]]
"""Makes ECharts options in given colours. Nothing that a station or a person wrote may be a key of it: ECharts runs those
that begin with a colon. As values all is text."""


class Chart(ui.echart, Recoloured):
    """A chart and the sentence that says what it shows, to who does not see it; the sentence stands under it for all."""

    def __init__(
        self, title: str, height: str, on_point: Handler[EChartPointClickEventArguments] | None, hide_words: bool
    ) -> None:
        super().__init__({}, on_point)
        self._title, self._build = title, None
        self.set_visibility(False)
        self._shown: dict[str, Any] | None = None
        self.classes("pl-chart").style(f"height: {height}").props('role="img"')
        self._words = ui.label().classes("pl-muted pl-break" + (" pl-hidden" if hide_words else ""))
        self._tell("no data yet")

    _build: Build | None

    def show(self, build: Build, summary: str) -> None:
        """Draw what `build` makes, and say `summary` of it."""
        self._build = build
        self.set_visibility(True)
        self._tell(summary)
        self.recolour()

    def say(self, summary: str) -> None:
        """Draw nothing, and say why."""
        self._build, self._shown = None, None
        self.set_visibility(False)
        self._tell(summary)

    def recolour(self) -> None:
        """Draw again in the colours of the page."""
        if self._build is None:
            return
        colours = palette()
        made = {**_base(colours), **self._build(colours)}
        if made != self._shown:
            self._shown = made
            self._props["options"] = made
            self.update()

    def _tell(self, summary: str) -> None:
        if self._words.text != summary:
            self._words.set_text(summary)
            self._props["aria-label"] = f"{self._title}: {summary}"
            self.update()


def chart(
    title: str,
    *,
    height: str = "15rem",
    on_point: Handler[EChartPointClickEventArguments] | None = None,
    hide_words: bool = False,
) -> Chart:
    """Return an empty chart. `hide_words`: its sentence is for screen readers alone, since the page says it elsewhere."""
    return Chart(title, height, on_point, hide_words)


def axis(colours: Palette, **more: Any) -> dict[str, Any]:
    """Return an axis in the page's colours; `more` is what else ECharts takes for it."""
    return {
        "axisLabel": {"color": colours.muted, "hideOverlap": True, "alignMinLabel": "left", "alignMaxLabel": "right"},
        "axisLine": {"lineStyle": {"color": colours.muted}},
        "nameTextStyle": {"color": colours.muted, "align": "left"},
        "splitLine": {"lineStyle": {"color": colours.grid}},
        **more,
    }


def _base(colours: Palette) -> dict[str, Any]:
    return {
        "animation": False,
        "backgroundColor": "transparent",
        "color": list(colours.series),
        "textStyle": {"color": colours.text},
        "legend": {"textStyle": {"color": colours.text}, "top": 0, "type": "scroll"},
        "grid": {"left": 8, "right": 16, "top": 34, "bottom": 8, "containLabel": True},
        # As text: what a station called a label must not become a page's markup.
        "tooltip": {
            "trigger": "axis",
            "renderMode": "richText",
            "backgroundColor": colours.surface,
            "borderColor": colours.muted,
            "textStyle": {"color": colours.text},
        },
    }
