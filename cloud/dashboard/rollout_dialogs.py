"""What people are asked before a rollout is started, resumed or concluded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from cloud.dashboard.parts import act, heading, words

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class NewRollout:
    """What somebody chose: `share` of the fleet and for how many `days`, of an A/B rollout."""

    version: str
    reason: str
    share: float = 0.0
    days: float = 0.0


@dataclass(frozen=True, slots=True)
class Form:
    """Fields of a dialog, and what they come to: None while something is missing."""

    fields: Sequence[ValueElement[Any]]
    given: Callable[[], Any]


async def ask(
    title: str, button: str, explain: str, draw: Callable[[], Form], kind: type[_T], *, danger: bool = False
) -> _T | None:
    """Ask what `draw` has fields for; None where the person thought better of it (Cancel, Escape).

    The button can be pressed once, and only when nothing is missing. The focus goes to the dialog and comes back.
    """
    # The page's own: what the button stands in may be drawn anew while somebody chooses.
    with ui.context.client.content, ui.dialog() as dialog, ui.card().classes("pl-dialog"):
        name = f"ask-{dialog.id}"
        heading(title).props(f'id="{name}"').classes("text-lg font-bold pl-break")
        words(explain)
        form = draw()
        with ui.row().classes("justify-end w-full"):
            act("Cancel", lambda: dialog.submit(None), quiet=True)

            def send() -> None:
                if (found := form.given()) is not None:
                    confirm.disable()
                    dialog.submit(found)

            confirm = act(button, send, danger=danger)
            confirm.set_enabled(form.given() is not None)
            if not form.fields:
                confirm.props("autofocus")
        for field in form.fields:
            field.on_value_change(lambda: confirm.set_enabled(form.given() is not None))
    dialog.props(f'aria-labelledby="{name}"')
    # Not before it is hidden: that is when the focus goes back to where it was.
    dialog.on("hide", dialog.delete)
    answer: Any = await dialog
    return answer if isinstance(answer, kind) else None


async def ask_version(
    title: str,
    button: str,
    explain: str,
    versions: Sequence[tuple[str, str]],
    *,
    danger: bool = False,
    side_by_side: bool = False,
) -> NewRollout | None:
    """Ask which of the `versions` (each with what is said of it) and why."""

    def draw() -> Form:
        shown = [f"{version} ({said})" if said else version for version, said in versions]
        # A number stands for a version, which may be called anything.
        chosen = ui.select(dict(enumerate(shown)), label="Version", with_input=len(versions) > 12)
        chosen.props("outlined autofocus").classes("w-full version")
        fields: list[ValueElement[Any]] = [chosen]
        share = days = None
        if side_by_side:
            share = ui.number("Share of the fleet that gets it, in %", value=50, min=1, max=99)
            days = ui.number("For how many days at most", value=7, min=1, max=365)
            fields += [share, days]
            for number in (share, days):
                number.props("outlined").classes("w-full")
        reason = _reason()

        def given() -> NewRollout | None:
            why = str(reason.value or "").strip()
            percent, lasts = (0.0 if each is None else float(each.value or 0.0) for each in (share, days))
            missing = chosen.value is None or not why
            if missing or (side_by_side and not (1.0 <= percent <= 99.0 and 0.0 < lasts <= 365.0)):
                return None
            return NewRollout(versions[chosen.value][0], why, percent / 100.0, lasts)

        return Form([*fields, reason], given)

    return await ask(title, button, explain, draw, NewRollout, danger=danger)


async def ask_keep(title: str) -> tuple[str, str] | None:
    """Ask which bundle of an A/B rollout everybody shall get ("a" or "b"), and why."""

    def draw() -> Form:
        keep = ui.radio(
            {"b": "The new version (b): the others get it in waves", "a": "The former one (a): arm b goes back"}
        )
        keep.props('aria-label="Which one is kept"')
        reason = _reason()

        def given() -> tuple[str, str] | None:
            why = str(reason.value or "").strip()
            return (str(keep.value), why) if keep.value and why else None

        return Form([keep, reason], given)

    return await ask(title, "Conclude", "One of the two is kept, for everybody.", draw, tuple)


async def ask_yes(title: str, button: str, explain: str) -> bool:
    """Ask whether somebody is sure."""
    return await ask(title, button, explain, lambda: Form((), lambda: True), bool) is True


def _reason() -> ui.textarea:
    return ui.textarea("Reason (goes into the audit log)").props("outlined autogrow maxlength=500").classes("w-full")
