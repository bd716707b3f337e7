"""What pages are made of. Everything shown is text: no part takes markup, whatever a station or a person called something."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import ClickEventArguments, Handler

from cloud.dashboard.charts import Chart, chart
from cloud.dashboard.live import Live, live
from cloud.dashboard.paged_table import Cell, Column, Kind, Page, PagedTable, PageRequest, paged_table
from cloud.dashboard.theme import SIGNS, Palette, Tone, palette
from cloud.dashboard.time_words import ago
from contract.errors import PlumblineError

__all__ = [
    "Badge", "Cell", "Chart", "Column", "Kind", "Live", "Page", "PageRequest", "PagedTable", "Palette", "Tone", "act",
    "ago", "ask_reason", "badge", "banner", "card", "chart", "count", "empty", "heading", "link", "live", "paged_table",
    "palette", "said", "trouble", "words",
]  # fmt: skip


def heading(text: str, level: int = 2) -> TextElement:
    """Return a heading, h1 to h3; a page's h1 is the shell's."""
    return TextElement(tag=f"h{level}", text=text)


def words(text: str, *, muted: bool = False) -> ui.label:
    """Return a paragraph that breaks where it must."""
    label = ui.label(text).classes("pl-break")
    return label.classes("pl-muted") if muted else label


def link(text: str, path: str) -> ui.link:
    """Return a link to another page of the dashboard; `path` begins with "/"."""
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"a link stays on this server: {path[:80]}")
    return ui.link(text, path)


def card(title: str = "", level: int = 2) -> ui.column:
    """Return a frame to put things into, with its heading."""
    column = ui.column().classes("pl-card w-full")
    if title:
        with column:
            heading(title, level)
    return column


class Badge:
    """A word with a tone: its colour, and a sign for who sees none."""

    def __init__(self, text: str, tone: Tone) -> None:
        self._tone = tone
        self.element = ui.element("span").classes(f"pl-badge pl-{tone.value}")
        with self.element:
            self._sign = TextElement(tag="span", text=SIGNS[tone]).props('aria-hidden="true"')
            self._text = TextElement(tag="span", text=text)

    def show(self, text: str, tone: Tone) -> None:
        """Say something else."""
        self._text.set_text(text)
        self._sign.set_text(SIGNS[tone])
        if tone is not self._tone:
            self.element.classes(remove=f"pl-{self._tone.value}", add=f"pl-{tone.value}")
            self._tone = tone


def badge(text: str, tone: Tone = Tone.PLAIN) -> Badge:
    """Return a badge."""
    return Badge(text, tone)


def banner(text: str, tone: Tone, path: str = "", path_text: str = "Show") -> ui.row:
    """Return a line over the whole width, with a link where something can be done about it."""
    row = ui.row().classes(f"pl-banner pl-{tone.value} items-baseline gap-2")
    with row:
        TextElement(tag="span", text=SIGNS[tone]).props('aria-hidden="true"')
        TextElement(tag="span", text=text).classes("pl-break")
        if path:
            link(path_text, path)
    return row


def empty(text: str, hint: str = "") -> ui.column:
    """Return what stands where there is nothing yet: what it means, and what to do."""
    column = ui.column().classes("pl-empty gap-1")
    with column:
        words(text).classes("font-medium")
        if hint:
            words(hint, muted=True)
    return column


def said(error: Exception) -> str:
    """Return what went wrong in one line, with what to do where that is known."""
    if isinstance(error, PlumblineError):
        return error.one_line()
    return " ".join(str(error).split())[:300] or type(error).__name__


def trouble(error: Exception) -> ui.row:
    """Return a banner that says what went wrong; read out at once."""
    return banner(said(error), Tone.BAD).props('role="alert"')


def act(text: str, on_click: Handler[ClickEventArguments], *, danger: bool = False, quiet: bool = False) -> ui.button:
    """Return a button. `danger`: what it does is not easily undone; `quiet`: it is not what the page is for."""
    button = ui.button(text, on_click=on_click, color=None).props("unelevated no-caps").classes("pl-act")
    if danger:
        button.classes("pl-danger")
    return button.classes("pl-quiet") if quiet else button


async def ask_reason(title: str, button: str, *, explain: str = "", danger: bool = False) -> str | None:
    """Ask why, and return what was written; None where the person thought better of it (Cancel, Escape).

    The focus goes to the field and comes back; the button can be pressed once, and only with a reason. `explain` says what
    will happen.
    """
    # The page's own: what the button stands in may be drawn anew while somebody writes.
    with ui.context.client.content, ui.dialog() as dialog, ui.card().classes("pl-dialog"):
        name = f"ask-{dialog.id}"
        heading(title).props(f'id="{name}"').classes("text-lg font-bold")
        if explain:
            words(explain)
        field = ui.textarea("Reason (goes into the audit log)").props("outlined autogrow autofocus maxlength=500")
        field.classes("w-full")
        with ui.row().classes("justify-end w-full"):
            act("Cancel", lambda: dialog.submit(None), quiet=True)

            def send() -> None:
                if reason := str(field.value or "").strip():
                    confirm.disable()
                    dialog.submit(reason)

            confirm = act(button, send, danger=danger)
            confirm.disable()
        field.on_value_change(lambda event: confirm.set_enabled(bool(str(event.value or "").strip())))
    dialog.props(f'aria-labelledby="{name}"')
    # Not before it is hidden: that is when the focus goes back to where it was.
    dialog.on("hide", dialog.delete)
    answer: Any = await dialog
    return answer if isinstance(answer, str) else None


def count(number: int, what: str, many: str = "") -> str:
    """Return "1 station" or "2,000 stations"; `many` where an s is not enough."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"
