"""The page of one version: where it stands, its gate, its card, where it came from and went; and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request
from nicegui import run, ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import EChartPointClickEventArguments

from cloud.api.auth import Scope
from cloud.api.datasets import Datasets
from cloud.api.version_desk import VersionDesk
from cloud.api.version_facts import VersionBook, VersionDetail
from cloud.dashboard import parts
from cloud.dashboard.models_page import CHECK_COLUMNS, day
from cloud.dashboard.models_view import (
    STAGE_TONES,
    STAGE_WORDS,
    check_rows,
    gate_words,
    lineage_chart,
)
from cloud.dashboard.parts import Column, Kind
from cloud.dashboard.shell import Shell
from cloud.dashboard.visit import Visit
from cloud.ports.lineage import LineageGraph
from cloud.rollout.version_states import CHAMPION_ALIAS, STAGE_TABLE, VersionEvent
from contract.errors import PlumblineError, RefusedError


def install_model_page(shell: Shell, book: VersionBook, desk: VersionDesk, datasets: Datasets) -> None:
    """Add /models/VERSION, and /models/VERSION/dataset."""

    @ui.page("/models/{version}")
    async def model(request: Request, version: str) -> None:
        if (entered := shell.enter(request, f"Version {version[:80]}", "/models")) is None:
            return
        visit, column = entered
        with column:
            try:
                found = await run.io_bound(lambda: ((one := book.get(version)), book.lineage(one.facts.version)))
            except PlumblineError as error:
                parts.trouble(error)
                parts.link("Models", "/models")
                return
            if found is None:  # NiceGUI answers None while the server shuts down
                return
            detail, graph = found
            _stands(detail)
            _Acts(visit, desk, detail)
            _gate(detail)
            _lineage(graph)
            with parts.card("Model card"):
                if detail.card:
                    TextElement(tag="pre", text=detail.card).classes("pl-break model-card").style("font-size: .85rem")
                else:
                    parts.empty("It has no model card.", "Cards come with versions that are released from a run.")

    @ui.page("/models/{version}/dataset")
    async def dataset(request: Request, version: str) -> None:
        if (entered := shell.enter(request, f"What {version[:80]} learnt from", "/models")) is None:
            return
        with entered[1]:
            try:
                found = await run.io_bound(datasets.of_version, version)
            except PlumblineError as error:
                parts.trouble(error)
                parts.link("Models", "/models")
                return
            if found is None:
                return
            _dataset(found)
            parts.link(f"Version {version}", f"/models/{version}")


def _stands(detail: VersionDetail) -> None:
    facts, stands = detail.facts, detail.facts.stands
    with parts.card("Where it stands"):
        with ui.row().classes("gap-2 items-baseline"):
            parts.badge(stands.stage.value.lower(), STAGE_TONES[stands.stage])
            parts.words(STAGE_WORDS[stands.stage])
        by = f"by {stands.actor}, {day(stands.at)}"
        parts.words(f"{by}: {stands.reason}" if stands.reason else by)
        called = ", ".join(facts.aliases)
        parts.words(f"Also called {called}." if called else "No alias means it.", muted=True)
        parts.words(
            f"Bundle {facts.released.digest}, {facts.released.size_bytes / 1e6:.2f} MB,"
            f" released {day(facts.released.created_at)} by {detail.released_by}.",
            muted=True,
        )
        parts.words(f"{parts.count(len(facts.stations), 'station')} say that they run it.")
        for number, state in detail.rollouts:
            parts.link(f"Rollout {number}: {state.lower()}", f"/rollouts/{number}")
        for why in detail.needed:
            parts.words(f"Its files stay: {why}.", muted=True)
        for gap in detail.gaps:
            parts.words(f"Not known: {gap}.", muted=True)


def _gate(detail: VersionDetail) -> None:
    version = detail.facts.version
    with parts.card("The gate's checks"):
        if detail.gate is None:
            parts.empty("There is no gate report.", "Gate its run with: plumbline-cloud gate RUN, and release it anew.")
            return
        parts.words(gate_words(detail.gate))
        table = parts.paged_table("checks", CHECK_COLUMNS, title="Checks", nothing="No check.", page_rows=500)
        table.show(check_rows(detail.gate))
        with ui.expansion("The gate's report with its charts").classes("w-full report"):
            path = f"/v1/versions/{version}/report"
            parts.words(
                "What a damaged or foreign report holds cannot run here: it is shown as a picture is.", muted=True
            )
            frame = ui.element("iframe").classes("w-full").style("height: 40rem; border: 0; background: #fff")
            # No token in `sandbox`: no script, no form, no way out of the frame.
            frame.props(f'sandbox="" loading="lazy" src="{path}" title="Gate report"')


def _lineage(graph: LineageGraph) -> None:
    with parts.card("Where it came from, and went"):

        def follow(event: EChartPointClickEventArguments) -> None:
            known = event.data_type == "node" and 0 <= event.data_index < len(graph.nodes)
            if known and (path := graph.nodes[event.data_index].path):
                ui.navigate.to(path)

        drawn = parts.chart("Lineage", height="22rem", on_point=follow)
        drawn.show(*lineage_chart(graph))
        with ui.element("ol").classes("list-decimal pl-6 lineage"):
            for node in graph.nodes:
                with ui.element("li").classes("pl-break"):
                    TextElement(tag="span", text=f"{node.kind.value}: ")
                    parts.link(node.text, node.path) if node.path else TextElement(tag="span", text=node.text)
                    if node.detail:
                        TextElement(tag="span", text=f" ({node.detail})")
        for gap in graph.gaps:
            parts.words(f"Not known: {gap}.", muted=True)


def _dataset(found: dict[str, Any]) -> None:
    with parts.card("In counts"):
        name = f"{found['name'] or 'a dataset without a name'}@{found['id']}"
        parts.words(f"{name}: {parts.count(found['images'], 'image')} of {parts.count(found['parts'], 'part')}.")
        splits = [split for split, images in found["splits"].items() if images]
        columns = (
            Column("label", "Label"),
            Column("means", "Means"),
            *(Column(f"split{number}", split, Kind.NUMBER) for number, split in enumerate(splits)),
        )
        rows = [
            {
                "label": label,
                "means": found["kinds"].get(label, ""),
                **{f"split{number}": images.get(split, 0) for number, split in enumerate(splits)},
            }
            for label, images in found["labels"].items()
        ]
        table = parts.paged_table(
            "labels", columns, title="Images by label", nothing="It has no labels.", page_rows=200
        )
        table.show(parts.Page(rows, len(rows)))
    for title, counts in (("Who labelled them", found["labellers"]), ("Where they came from", found["sources"])):
        with parts.card(title), ui.element("ul").classes("list-disc pl-6"):
            for who, images in counts.items():
                TextElement(tag="li", text=f"{who or 'not on record'}: {parts.count(images, 'image')}").classes(
                    "pl-break"
                )
    for warning in found["warnings"]:
        parts.words(f"Warning: {warning}", muted=True)


class _Acts:
    """What may be done to a version, by who may. Whether they may is asked again at the act."""

    def __init__(self, visit: Visit, desk: VersionDesk, detail: VersionDetail) -> None:
        self._visit, self._desk, self._version = visit, desk, detail.facts.version
        self._place = ui.column().classes("w-full acts")
        if not visit.may(Scope.RELEASE):
            return
        events = STAGE_TABLE[detail.facts.stands.stage]
        with self._place:
            with ui.row().classes("gap-2"):
                if VersionEvent.RETIRE in events:
                    parts.act("Retire", self._retire, danger=True)
                if VersionEvent.UNRETIRE in events:
                    parts.act("Take back that it is retired", self._unretire)
                if VersionEvent.RETIRE in events or VersionEvent.SUCCEEDED in events:
                    parts.act("Call it …", self._alias, quiet=True)
            self._told = ui.column().classes("w-full")

    async def _retire(self) -> None:
        explain = "Nobody can be ordered to run it, and no kit can be made of it, until that is taken back."
        reason = await parts.ask_reason(f"Retire {self._version}?", "Retire", explain=explain, danger=True)
        if reason is not None:
            await self._do(
                lambda who: self._desk.retire(self._version, who, reason), lambda: self._all_the_same(reason)
            )

    def _all_the_same(self, reason: str) -> None:
        async def ask() -> None:
            explain = "Stations need it, as was said. Say why it is safe to retire it all the same."
            safe = await parts.ask_reason(
                f"Retire {self._version} all the same?", "Retire", explain=explain, danger=True
            )
            if safe is not None:
                await self._do(lambda who: self._desk.retire(self._version, who, reason, safe=safe))

        parts.act("Retire it all the same …", ask, danger=True)

    async def _unretire(self) -> None:
        reason = await parts.ask_reason(f"May {self._version} be ordered again?", "Take it back")
        if reason is not None:
            await self._do(lambda who: self._desk.unretire(self._version, who, reason))

    async def _alias(self) -> None:
        means = await run.io_bound(lambda: {each.alias: each.version for each in self._desk.versions.aliases()})
        if means is None:
            return
        with ui.dialog() as dialog, ui.card().classes("pl-dialog"):
            parts.heading(f"Call {self._version} …").classes("text-lg font-bold")
            parts.words("An alias means one version at a time. Whoever is called champion is the champion.")
            alias = (
                ui.input("Alias", placeholder=CHAMPION_ALIAS).props("outlined autofocus maxlength=40").classes("w-full")
            )
            field = ui.textarea("Reason (goes into the audit log)").props("outlined autogrow maxlength=500")
            field.classes("w-full")
            with ui.row().classes("justify-end w-full"):
                parts.act("Cancel", lambda: dialog.submit(None), quiet=True)

                def send() -> None:
                    name, why = str(alias.value or "").strip(), str(field.value or "").strip()
                    if name and why:
                        dialog.submit((name, why))

                parts.act("Set", send)
        dialog.on("hide", dialog.delete)
        answer: Any = await dialog
        if answer is not None:
            name, why = answer
            shown = means.get(name, "")
            await self._do(lambda who: self._desk.set_alias(name, self._version, who, why, shown=shown))

    async def _do(self, act: Callable[[str], object], refused: Callable[[], object] | None = None) -> None:
        person = self._visit.person
        self._told.clear()
        with self._told:
            if person is None or not self._visit.may(Scope.RELEASE):
                parts.trouble(RefusedError("you may no longer do this", hint="sign in again"))
                return
            try:
                await run.io_bound(act, person.name)
            except PlumblineError as error:
                parts.trouble(error)
                if refused is not None and "still needed" in error.message:
                    refused()
                return
        ui.navigate.to(f"/models/{self._version}")
