"""The audit page: who did what, newest first, and whether the log itself was touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nicegui import run, ui
from starlette.requests import Request

from cloud.api.auth import Scope
from cloud.dashboard.audit_view import MOST_EXPORTED, Asked, AuditView, ChainWatch, audit_view
from cloud.dashboard.parts import Tone, act, badge, live, said, words
from cloud.dashboard.shell import Shell
from cloud.dashboard.visit import Visit
from cloud.store.audit import AuditLog
from cloud.store.audit_csv import audit_csv

REFRESH_S = 5.0

_COLUMNS = (("id", "Entry"), ("when", "When"), ("who", "Who"), ("act", "Act"), ("detail", "Detail"))
# A long detail would leave names no room.
_WIDTHS = {"when": "white-space: nowrap", "who": "min-width: 8rem", "act": "min-width: 8rem"}
_EXPLAINED = (
    "Each entry's hash covers the one before, so a change shows. Whether entries were cut off at the end only a head kept"
    " elsewhere can tell: plumbline-cloud audit verify."
)


def install_audit_page(shell: Shell, audit: AuditLog, now: Callable[[], float]) -> None:
    """Add /audit."""
    chain = ChainWatch(audit, now)

    @ui.page("/audit")
    async def page(request: Request) -> None:
        if (entered := shell.enter(request, "Audit log", "/audit", Scope.READ)) is None:
            return
        visit, column = entered
        acts = await run.io_bound(audit.acts) or []
        asked = request.query_params
        first = Asked(asked.get("actor", ""), asked.get("act", ""), asked.get("text", ""))
        with column:
            _AuditTable(visit, audit, chain, now, first, acts)


class _AuditTable:
    """What is on the page. A page of older entries stays what it is however many come meanwhile."""

    def __init__(
        self,
        visit: Visit,
        audit: AuditLog,
        chain: ChainWatch,
        now: Callable[[], float],
        asked: Asked,
        acts: list[str],
    ) -> None:
        self._visit, self._audit = visit, audit
        self._asked = replace(asked, act=asked.act if asked.act in acts else "")
        self._newer: list[int | None] = []
        self._older: int | None = None
        self._held = badge("the chain is being checked")
        self._held.element.classes("chain").props('role="status"')
        words(_EXPLAINED, muted=True)
        self._live = live(
            visit,
            lambda: (self._asked, audit_view(audit, self._asked, now()), chain.say()),
            self._show,
            REFRESH_S,
            what="The audit log",
        )
        with ui.row().classes("items-end gap-4"):
            self._actor = ui.input("Who", value=asked.actor).props('debounce="300" maxlength="120" outlined dense')
            kinds = {"": "any act", **{each: each for each in acts}}
            self._act = ui.select(kinds, label="Act", value=self._asked.act).props("outlined dense").classes("w-48")
            self._text = ui.input("Detail holds", value=asked.text).props(
                'debounce="300" maxlength="120" outlined dense'
            )
            for field in (self._actor, self._act, self._text):
                field.on_value_change(self._filter)
            act("Export as CSV", self._export, quiet=True)
        self._table = ui.table(
            columns=[
                {"name": name, "label": title, "field": name, "align": "left", "style": _WIDTHS.get(name, "")}
                for name, title in _COLUMNS
            ],
            rows=[],
            row_key="id",
            pagination=0,
        )
        self._table.props("dense flat bordered wrap-cells hide-pagination").classes("pl-table table-audit")
        self._table.props["aria-label"] = "Acts, newest first"
        self._table.add_slot(
            "body-cell-when", '<q-td :props="props"><span :title="props.row.exact">{{ props.value }}</span></q-td>'
        )
        self._table.add_slot("no-data", "<div>No entry matches. Take a filter away to see more.</div>")
        with ui.row().classes("items-center gap-2"):
            self._back = act("Newer", self._go_newer, quiet=True)
            self._on = act("Older", self._go_older, quiet=True)

    def _show(self, found: tuple[Asked, AuditView, tuple[bool | None, str]]) -> None:
        asked, view, (held, sentence) = found
        self._held.show(sentence, Tone.PLAIN if held is None else Tone.GOOD if held else Tone.BAD)
        if asked != self._asked:  # somebody has asked for something else meanwhile
            return
        if self._table.rows != view.rows:
            self._table.rows = view.rows
        self._older = view.older
        self._on.set_enabled(view.older is not None)
        self._back.set_enabled(bool(self._newer))

    async def _filter(self) -> None:
        self._asked = Asked(self._actor.value or "", self._act.value or "", self._text.value or "")
        self._newer = []
        await self._live.refresh()

    async def _go_older(self) -> None:
        if self._older is not None:
            self._newer.append(self._asked.before)
            self._asked = replace(self._asked, before=self._older)
            self._older = None  # a second click before the page is there asks for no page beyond
            await self._live.refresh()

    async def _go_newer(self) -> None:
        if self._newer:
            self._asked = replace(self._asked, before=self._newer.pop())
            await self._live.refresh()

    async def _export(self) -> None:
        if not self._visit.may(Scope.READ):
            ui.notify("Your session has ended: sign in again to export the log.", color="red-10")
            return
        try:
            content = await run.io_bound(_csv, self._audit, self._asked)
        except Exception as error:  # noqa: BLE001 - told to who asked for it
            ui.notify(f"The log cannot be exported. {said(error)}", color="red-10")
            return
        if content is not None:  # None: the server shuts down
            ui.download.content(content, "audit.csv", "text/csv")


def _csv(audit: AuditLog, asked: Asked) -> bytes:
    pages = audit_csv(audit, actor=asked.actor, act=asked.act, text=asked.text, most=MOST_EXPORTED)
    return "".join(pages).encode()
