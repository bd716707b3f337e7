"""A table that shows one page of many rows, and asks for them sorted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from cloud.dashboard.theme import SIGNS, Tone

PAGE_ROWS = 50


class Kind(str, Enum):
    """How a column's cells look. Of a LINK the cell holds (text, path), of a BADGE (text, `Tone`)."""

    TEXT = "text"
    NUMBER = "number"
    LINK = "link"
    BADGE = "badge"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `key` names its cell in a row."""

    key: str
    title: str
    kind: Kind = Kind.TEXT
    sortable: bool = False


Cell: TypeAlias = "str | int | float | tuple[str, str] | None"
Row: TypeAlias = "Mapping[str, Cell]"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which rows are asked for: `limit` from `start` on, sorted by the column `sort` ("" for the order of the reader's own)."""

    start: int = 0
    limit: int = PAGE_ROWS
    sort: str = ""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Those rows, and how many there are in all."""

    rows: Sequence[Row] = field(default_factory=tuple)
    total: int = 0


class PagedTable:
    """A table in a page. `read` is called in a thread with what is to be shown; without it the owner calls `show`.

    `on_change` is awaited after another page or order was asked for: its owner may put that into the address, and shows.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[Column],
        *,
        title: str,
        nothing: str,
        page_rows: int,
        read: Callable[[PageRequest], Page] | None,
        on_change: Callable[[PageRequest], Awaitable[None]] | None,
        asked: PageRequest | None,
    ) -> None:
        self.asked = asked or PageRequest(limit=page_rows)
        self._columns, self._read, self._on_change = tuple(columns), read, on_change
        self._total = 0
        self._number = 0
        self._table = ui.table(columns=[_quasar(c, name) for c in columns], rows=[], row_key="_row", pagination=0)
        self._table.props("dense flat bordered wrap-cells hide-pagination").classes(f"pl-table table-{name}")
        self._table.props["aria-label"] = title
        self._table.props["no-data-label"] = nothing
        self._table.add_slot("no-data", "<div class='pl-break' style='padding: .4rem 0'>{{ props.message }}</div>")
        self._table.add_slot("header-cell", _HEADER)
        for column in columns:
            self._table.add_slot(f"body-cell-{column.key}", _CELLS[column.kind])
        self._table.on("plsort", self._sort)
        self._mark()
        self._pager = ui.row().classes("items-center gap-2 pl-pager")
        with self._pager:
            self._before = ui.button("Previous", on_click=lambda: self._turn(-1), color=None).props(
                "unelevated no-caps dense"
            )
            self._where = ui.label().props('aria-live="polite"')
            self._after = ui.button("Next", on_click=lambda: self._turn(1), color=None).props(
                "unelevated no-caps dense"
            )
            for button in (self._before, self._after):
                button.classes("pl-act pl-quiet px-2")
        self._pager.set_visibility(False)

    async def refresh(self) -> None:
        """Read the page that is asked for, and show it. What goes wrong is the caller's to tell."""
        if self._read is None:
            return
        self._number += 1
        mine, read, asked = self._number, self._read, self.asked
        page = await run.io_bound(lambda: read(asked))
        # Another page was asked for meanwhile: this answer is not what the person wants to see. None: the server shuts down.
        if page is not None and mine == self._number and not self._table.is_deleted:
            self.show(page)

    def read_now(self) -> Page:
        """Return the page that is asked for; for a `live` that reads more than this table."""
        assert self._read is not None
        return self._read(self.asked)

    def show(self, page: Page) -> None:
        """Show rows; where the page asked for is past the end, the owner's next read is of the last one."""
        rows = [_row(number, row, self._columns) for number, row in enumerate(page.rows)]
        if rows != self._table.rows:
            self._table.rows = rows
        self._total = page.total
        asked = self.asked
        last = min(asked.start + len(page.rows), page.total)
        self._where.set_text(f"{asked.start + 1:,}–{last:,} of {page.total:,}" if page.rows else "none here")
        self._before.set_enabled(asked.start > 0)
        self._after.set_enabled(asked.start + asked.limit < page.total)
        self._pager.set_visibility(page.total > asked.limit or asked.start > 0)
        if not page.rows and 0 < page.total <= asked.start:
            self.asked = _at(asked, (page.total - 1) // asked.limit * asked.limit)

    async def first(self) -> None:
        """Go back to the first page: what is filtered for has changed."""
        await self._ask(_at(self.asked, 0))

    async def _turn(self, pages: int) -> None:
        start = self.asked.start + pages * self.asked.limit
        if 0 <= start < max(self._total, 1):
            await self._ask(_at(self.asked, start))

    async def _sort(self, event: GenericEventArguments) -> None:
        key = event.args
        if not any(column.key == key and column.sortable for column in self._columns):
            return
        again = key == self.asked.sort
        await self._ask(PageRequest(0, self.asked.limit, str(key), descending=again and not self.asked.descending))

    async def _ask(self, asked: PageRequest) -> None:
        self.asked = asked
        self._mark()
        if self._on_change is not None:
            await self._on_change(asked)
        await self.refresh()

    def _mark(self) -> None:
        order = "descending" if self.asked.descending else "ascending"
        for column in self._table.columns:
            column["order"] = order if column["name"] == self.asked.sort else "none"
        self._table.update()


def paged_table(
    name: str,
    columns: Sequence[Column],
    *,
    title: str,
    nothing: str,
    page_rows: int = PAGE_ROWS,
    read: Callable[[PageRequest], Page] | None = None,
    on_change: Callable[[PageRequest], Awaitable[None]] | None = None,
    asked: PageRequest | None = None,
) -> PagedTable:
    """Return a table, empty as yet; `nothing` says what it means that it is, and what to do.

    `name` is its class "table-NAME"; `title` what screen readers call it.
    """
    return PagedTable(
        name,
        columns,
        title=title,
        nothing=nothing,
        page_rows=page_rows,
        read=read,
        on_change=on_change,
        asked=asked,
    )


# Vue templates; {{ }} makes text of whatever it is given.
_HEADER = """<q-th :props="props" :aria-sort="props.col.can_sort ? props.col.order : undefined">
<button v-if="props.col.can_sort" type="button"
:data-pl-key="props.col.table + ' ' + props.col.name"
@click="() => $parent.$emit('plsort', props.col.name)">{{ props.col.label
}}<span aria-hidden="true">{{ {ascending: ' ▲', descending: ' ▼'}[props.col.order] || '' }}</span></button>
<span v-else>{{ props.col.label }}</span></q-th>"""
_CELLS = {
    Kind.TEXT: '<q-td :props="props">{{ props.value }}</q-td>',
    Kind.NUMBER: '<q-td :props="props" class="pl-num">{{ props.value }}</q-td>',
    Kind.LINK: '<q-td :props="props"><a v-if="props.row._more[props.col.name]" :href="props.row._more[props.col.name]"'
    ' :data-pl-key="props.row._more[props.col.name]">'
    '{{ props.value }}</a><span v-else>{{ props.value }}</span></q-td>',
    Kind.BADGE: '<q-td :props="props"><span v-if="props.value" :class="\'pl-badge pl-\' + props.row._more[props.col.name][0]">'
    '<span aria-hidden="true">{{ props.row._more[props.col.name][1] }}</span><span>{{ props.value }}</span></span></q-td>',
}  # fmt: skip


def _quasar(column: Column, table: str) -> dict[str, Any]:
    align = "right" if column.kind is Kind.NUMBER else "left"
    return {
        "name": column.key,
        "table": table,
        "label": column.title,
        "field": column.key,
        "align": align,
        "can_sort": column.sortable,
        "order": "none",
    }


def _row(number: int, row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    shown: dict[str, Any] = {"_row": number}
    more: dict[str, Any] = {}
    for column in columns:
        value = row.get(column.key)
        if isinstance(value, tuple):
            text, beside = value
            shown[column.key] = text
            if column.kind is Kind.BADGE:
                tone = Tone(beside)
                more[column.key] = (tone.value, SIGNS[tone])
            elif beside.startswith("/") and not beside.startswith("//"):
                more[column.key] = beside
        elif column.kind is Kind.NUMBER and isinstance(value, int | float):
            shown[column.key] = f"{value:,}"
        else:
            shown[column.key] = "" if value is None else value
            if column.kind is Kind.BADGE:
                more[column.key] = (Tone.PLAIN.value, SIGNS[Tone.PLAIN])
    return {**shown, "_more": more}


def _at(asked: PageRequest, start: int) -> PageRequest:
    return PageRequest(start, asked.limit, asked.sort, asked.descending)
