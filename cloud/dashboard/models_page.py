"""The page of all versions: where each stands, how it did at the gate, who runs it; and runs that did not pass."""

from __future__ import annotations

from datetime import datetime, timezone

from fastapi import Request
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from cloud.api.version_desk import VersionDesk
from cloud.api.version_facts import FailedRun, VersionBook, VersionFacts
from cloud.dashboard import parts
from cloud.dashboard.models_view import (
    ModelsView,
    check_rows,
    compared,
    gate_words,
    station_bars,
    version_rows,
)
from cloud.dashboard.parts import Column, Kind, Tone
from cloud.dashboard.shell import Shell

REFRESH_S = 5.0
MAX_FAILED = 20
CHECK_COLUMNS = (
    Column("state", "Held", Kind.BADGE),
    Column("check", "Check"),
    Column("sentence", "What was found"),
    Column("figures", "Figures"),
)
_COLUMNS = (
    Column("version", "Version", Kind.LINK),
    Column("stage", "Stage", Kind.BADGE),
    Column("called", "Called"),
    Column("gate", "Gate", Kind.BADGE),
    Column("accuracy", "Accuracy", Kind.NUMBER),
    Column("latency", "Median ms", Kind.NUMBER),
    Column("stations", "Stations", Kind.NUMBER),
    Column("disk", "Disk MB", Kind.NUMBER),
    Column("released", "Released"),
)


def install_models_page(shell: Shell, book: VersionBook, desk: VersionDesk) -> None:
    """Add /models, and /models/failed/N for a retrain that led to no version."""

    @ui.page("/models")
    def models(request: Request) -> None:
        if (entered := shell.enter(request, "Models", "/models")) is None:
            return
        visit, column = entered
        with column:
            with parts.card("Versions"):
                table = parts.paged_table(
                    "versions",
                    _COLUMNS,
                    title="Released versions",
                    nothing="No version yet. Train a run (plumbline-cloud train --help), quantize it, gate it, and then:"
                    " plumbline-cloud release RUN --version v1",
                )
            with parts.card("Stations by version"):
                bars = parts.chart("Stations by version", height="12rem")
            with parts.card("Compare two"):
                compare = _Compare()
            with parts.card("Did not pass"):
                failed = ui.column().classes("w-full gap-3 did-not-pass")
            shown: list[tuple[FailedRun, ...]] = []

            def show(view: ModelsView) -> None:
                table.show(version_rows(view.versions, day))
                drawn, said = station_bars(view.versions)
                if any(each.stations for each in view.versions):
                    bars.show(drawn, said)
                else:
                    bars.say(said)
                compare.offer(view.versions)
                if shown != [view.failed]:
                    shown[:] = [view.failed]
                    failed.clear()
                    with failed:
                        _failed_runs(view.failed)

            def read() -> ModelsView:
                desk.adopt()
                return ModelsView(tuple(book.all()), tuple(book.failed_runs()))

            parts.live(visit, read, show, REFRESH_S, what="The versions")

    @ui.page("/models/failed/{retrain}")
    def failed_run(request: Request, retrain: int) -> None:
        if (entered := shell.enter(request, f"Retrain {retrain}", "/models")) is None:
            return
        with entered[1]:
            found = next((each for each in book.failed_runs() if each.retrain == retrain), None)
            if found is None:
                parts.empty(f"No failed retrain {retrain}.", "It may have led to a version: see Models.")
                parts.link("Models", "/models")
                return
            parts.badge("did not pass", Tone.BAD)
            parts.words(f"For {found.series}: {found.reason}")
            parts.words(found.trouble)
            if found.report is None:
                parts.empty(
                    "It failed before its gate, so there are no checks.", "The sentence above says what stopped it."
                )
                return
            with parts.card("The gate's checks"):
                parts.words(gate_words(found.report))
                parts.paged_table("checks", CHECK_COLUMNS, title="Checks", nothing="No check.", page_rows=500).show(
                    check_rows(found.report)
                )


def day(at: float) -> str:
    """Return a moment in UTC, to the minute."""
    return datetime.fromtimestamp(at, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _failed_runs(failed: tuple[FailedRun, ...]) -> None:
    if not failed:
        parts.empty("No retrain has failed.", "A run that fails its gate is shown here, with the reason.")
    for each in failed[:MAX_FAILED]:
        with ui.column().classes("w-full gap-1"):
            parts.link(f"Retrain {each.retrain} for {each.series}", f"/models/failed/{each.retrain}")
            when = f" {day(each.ended_at)}" if each.ended_at is not None else ""
            parts.words(f"{each.reason}.{when}", muted=True)
            checks = each.report.failures() if each.report is not None else ()
            if not checks:
                parts.words(each.trouble)
            with ui.element("ul").classes("list-disc pl-6"):
                for check in checks:
                    TextElement(tag="li", text=f"{check.name}: {check.sentence}").classes("pl-break")
    if len(failed) > MAX_FAILED:
        parts.words(f"and {len(failed) - MAX_FAILED} more, older ones", muted=True)


class _Compare:
    """Two versions beside each other."""

    def __init__(self) -> None:
        self._versions: dict[str, VersionFacts] | None = None
        with ui.row().classes("gap-3 w-full"):
            self._one, self._other = (
                ui.select([], label=label, on_change=self._show).props("outlined dense").classes("w-64")
                for label in ("Version", "Beside")
            )
        self._place = ui.column().classes("w-full")

    def offer(self, versions: tuple[VersionFacts, ...]) -> None:
        """Offer these versions, and show the two that are chosen as they are now."""
        if self._versions == (found := {each.version: each for each in versions}):
            return
        self._versions = found
        names = list(found)
        one = self._one.value if self._one.value in found else next(iter(names), None)
        # Nobody wants to see a version beside itself.
        beside = self._other.value if self._other.value in found else next((n for n in names if n != one), None)
        for select, chosen in ((self._one, one), (self._other, beside)):
            select.set_options(names, value=chosen)
        self._show()

    def _show(self) -> None:
        found = self._versions or {}
        one, other = (found.get(str(each.value)) for each in (self._one, self._other))
        self._place.clear()
        with self._place:
            if one is None or other is None:
                parts.empty("There is nothing to compare yet.", "Two released versions can be seen beside each other.")
                return
            columns = (Column("what", "What"), Column("one", one.version), Column("other", other.version))
            rows = [{"what": what, "one": mine, "other": theirs} for what, mine, theirs in compared(one, other)]
            parts.paged_table("compare", columns, title="Two versions compared", nothing="").show(
                parts.Page(rows, len(rows))
            )
