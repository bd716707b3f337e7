"""The inspector's page in one browser: what it shows, and what its keys do."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from functools import partial
from typing import Any

from nicegui import background_tasks, run, ui
from nicegui.events import GenericEventArguments

from cloud.api.auth import Scope
from cloud.dashboard.parts import act, card, count, link, words
from cloud.dashboard.review_acts import Answer, ReviewParts, carry_out
from cloud.dashboard.review_script import SCRIPT, STYLE
from cloud.dashboard.review_view import Progress, ReviewDesk, Shown
from cloud.dashboard.visit import Visit
from cloud.review.label_choice import KEYS, is_right, stored
from contract.errors import PlumblineError

_log = logging.getLogger(__name__)

_LOOK_S = 5.0
_RENEW_S = 20.0
_ENDED = "Your session has ended, or you may no longer label: sign in again. The last key was not taken."
_OFFLINE = (
    "The server is not reached: no key is taken until it is. "
    "Whether the very last one was, you see from the part shown then."
)
_KEYS = (
    "Keys: those on the buttons label · U skips · Z takes your last label back · O shows the model's answer after each label · "
    "Enter goes on · + and − zoom, arrows move, 0 shows all of it"
)


class ReviewScreen:
    """The page of one browser."""

    def __init__(self, visit: Visit, desk: ReviewDesk, parts: ReviewParts) -> None:
        self._visit, self._desk, self._parts = visit, desk, parts
        self._choice = parts.choice()
        self._chosen: list[str] = []
        self._midnight, self._ended, self._answering, self._before = 0.0, False, False, ""
        self._client = ui.context.client
        ui.add_css(STYLE)
        self._draw()
        ui.on("review_ready", self._ready)
        ui.on("review_act", self._act)
        ui.timer(_LOOK_S, self._look)
        ui.timer(_RENEW_S, self._renew)
        self._client.on_connect(lambda: self._client.run_javascript(f"{SCRIPT}; plumblineReview.ready()"))
        self._client.on_delete(lambda: background_tasks.create(run.io_bound(desk.leave)))

    def _draw(self) -> None:
        # Shown by the browser itself, while the server cannot.
        with ui.element("div").classes("review-offline pl-banner pl-bad").props('role="alert" hidden'):
            ui.label(_OFFLINE)
        self._notice = ui.label().classes("review-notice pl-banner pl-info").props('role="status" aria-live="polite"')
        self._notice.set_visibility(False)
        with ui.row().classes("w-full items-start gap-4 no-wrap max-lg:flex-wrap"):
            with ui.column().classes("grow gap-2 min-w-0"):
                self._stage = ui.element("div").classes("review-stage")
                self._stage.props(
                    'tabindex="0" role="group" aria-label="The part: zoom with + and -, move with arrows"'
                )
                with ui.row().classes("items-center gap-4"):
                    for name in ("brightness", "contrast"):
                        with ui.element("label").classes("review-light"):
                            ui.label(name.capitalize())
                            slider = ui.element("input").classes(f"review-{name}")
                            slider.props(
                                f'type="range" min="25" max="300" value="100" aria-label="{name.capitalize()}"'
                            )
                    words("of the display alone", muted=True)
                words(_KEYS, muted=True).classes("text-sm")
            with ui.column().classes("gap-3 w-full lg:w-96 shrink-0"):
                with card():
                    self._why = words("Looking for a part …").classes("review-why font-bold")
                    self._facts = words("", muted=True).classes("review-facts")
                    self._beside = words("").classes("review-beside pl-banner pl-warn")
                    self._beside.set_visibility(False)
                with card("What is it?"):
                    self._draw_buttons()
                self._answer_card = card("What the model said").classes("review-answer")
                with self._answer_card:
                    self._answer_words = words("")
                    self._next_button = act("Next (Enter)", lambda: None)
                    self._next_button.on("click", js_handler="event => plumblineReview.click(event, 'enter')")
                self._answer_card.set_visibility(False)
                self._answers = ui.switch("Show the model's answer after each label (O)")
                with card("Progress"):
                    self._progress = words("").classes("review-progress")
                    self._passed = words("", muted=True).classes("review-passed")
                    self._again = act("Look at what you skipped again", self._look_again, quiet=True)
                    self._again.set_visibility(False)
                    if self._visit.may(Scope.TUNE):
                        link("What people disagree on, and how often", "/review/disagreements")

    def _draw_buttons(self) -> None:
        self._buttons: dict[str, ui.button] = {}
        if not self._choice.names:
            words("No model is released yet, so there are no labels to give: plumbline-cloud release")
        with ui.column().classes("w-full gap-2"):
            for number, name in enumerate(self._choice.names):
                key = KEYS[number].upper() if number < len(KEYS) else ""
                button = act("", lambda: None, quiet=True).classes("review-label w-full").props('align="left"')
                with button:
                    if key:
                        ui.label(key).classes("review-key")
                    ui.label(name).classes("pl-break text-left")
                button.on("click", js_handler=f"event => plumblineReview.click(event, 'label', {number})")
                self._buttons[name] = button
        with ui.row().classes("gap-2"):
            if self._choice.several:
                confirm = act("Store these (Enter)", lambda: None)
                confirm.on("click", js_handler="event => plumblineReview.click(event, 'enter')")
            for text, kind in (("Unsure: skip (U)", "skip"), ("Undo (Z)", "undo")):
                button = act(text, lambda: None, quiet=True)
                button.on("click", js_handler=f"event => plumblineReview.click(event, '{kind}')")

    async def _ready(self, event: GenericEventArguments) -> None:
        self._midnight = float(event.args) if isinstance(event.args, (int, float)) else 0.0
        if self._desk.current is None:
            await self._next()
        else:
            self._show(self._desk.current)
        await self._tell_progress()

    async def _act(self, event: GenericEventArguments) -> None:
        told: dict[str, Any] = event.args if isinstance(event.args, dict) else {}
        kind, shown = str(told.get("kind")), str(told.get("shown"))
        value = told.get("value")
        number = value if isinstance(value, int) else -1
        if self._ended:
            return
        try:
            if kind == "answers":
                self._answers.set_value(not self._answers.value)
            elif kind == "enter" and self._answering:
                await self._next()
            elif kind == "enter" and self._chosen:
                await self._carry_out("label", shown, stored(self._chosen, always=True))
            elif kind == "label" and 0 <= number < len(self._choice.names) and not self._answering:
                name = self._choice.names[number]
                if self._only_marks(name):
                    self._choose(name)
                else:
                    await self._carry_out("label", shown, name)
            elif kind in ("skip", "undo", "lost"):
                await self._carry_out(kind, shown, "")
        except Exception as error:  # noqa: BLE001 - a page's outermost guard: told, logged, and the part stays
            _log.exception("an act of %s failed", self._desk.labeller)
            self._say(f"Not stored: {' '.join(str(error).split())[:300]}", bad=True)
        finally:
            if kind != "answers":
                self._client.run_javascript("plumblineReview.free()")

    def _only_marks(self, name: str) -> bool:
        """Return whether a label is one of several that a part may have, so that more may follow it."""
        return self._choice.several and name not in self._choice.good

    def _choose(self, name: str) -> None:
        """Mark one of several labels, or take the mark away."""
        if name in self._chosen:
            self._chosen.remove(name)
        else:
            self._chosen.append(name)
        self._mark_chosen()

    def _mark_chosen(self) -> None:
        for name, button in self._buttons.items():
            if self._choice.several:
                button.props(f'aria-pressed="{"true" if name in self._chosen else "false"}"')
                button.classes(remove="pl-quiet") if name in self._chosen else button.classes(add="pl-quiet")

    async def _carry_out(self, kind: str, shown: str, label: str) -> None:
        step = await run.io_bound(
            partial(
                carry_out, self._visit, self._desk, self._parts, kind, shown, label, answers=bool(self._answers.value)
            )
        )
        if step is None:  # NiceGUI answers None while the server shuts down
            return
        if step.ended:
            self._end()
            return
        if step.said.words:
            self._say(step.said.words, bad=not step.said.done)
        else:
            self._notice.set_visibility(False)
        if step.said.done or kind == "lost":
            self._before = step.said.sample or shown
            if step.answer is not None:
                self._show_answer(step.answer)
            else:
                if step.why_no_answer:
                    self._say(f"The model's answer is not shown: {step.why_no_answer}")
                self._show(self._desk.current)
            background_tasks.create(self._tell_progress())

    async def _next(self) -> None:
        self._answering = False
        found = await run.io_bound(self._find_next)
        if found is None:  # NiceGUI answers None while the server shuts down
            return
        allowed, shown = found
        self._show(shown) if allowed else self._end()

    def _find_next(self) -> tuple[bool, Shown | None]:
        # Who may no longer label is told of no part, and keeps none from others.
        if not self._visit.may(Scope.REVIEW):
            self._desk.leave()
            return False, None
        return True, self._desk.next()

    def _show(self, shown: Shown | None) -> None:
        self._answering, self._chosen = False, []
        self._mark_chosen()
        self._answer_card.set_visibility(False)
        self._beside.set_visibility(shown is not None and bool(shown.beside))
        if shown is None:
            self._why.set_text("No part waits for you.")
            self._facts.set_text(
                "Stations send images when a drift alarm asks for labels, and a few a day besides ([review] in cloud.toml). This"
                " page looks again by itself."
            )
            self._client.run_javascript("plumblineReview.clear()")
            return
        where = f"station {shown.station}" + (f", camera {shown.camera}" if shown.camera else "")
        at = datetime.fromtimestamp(shown.captured_at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._why.set_text(f"Why you are asked: {shown.why}")
        self._facts.set_text(f"Part {shown.part or shown.sample} · {where} · {at}")
        self._beside.set_text(
            f"{shown.beside} has this part before them, too: nothing else waits, and yours is a second look."
        )
        told = {
            "sample": shown.sample,
            "alt": f"Part {shown.part or shown.sample} of {where}",
            "ahead": self._desk.ahead,
            "before": self._before,
            "keys": KEYS[: len(self._choice.names)],
            "marks": [n for n, name in enumerate(self._choice.names) if self._only_marks(name)],
        }
        self._client.run_javascript(f"plumblineReview.show({json.dumps(told)})")

    def _show_answer(self, answer: Answer) -> None:
        self._answering = True
        found = answer.sample
        same = "agrees with you" if is_right(found.label, found.truth) else "disagrees with you"
        said = [
            f"You said {found.truth}.",
            f"The station's model {same}: {found.label} ({found.confidence:.2f}), verdict {found.verdict}.",
            f"The cloud's full-precision model: {answer.cloud.label} ({answer.cloud.confidence:.2f}, {answer.cloud.model})."
            if answer.cloud.label
            else f"The cloud's verdict: none ({answer.cloud.trouble}).",
            "Orange is where the station's model looked."
            if answer.has_map
            else "The model does not say where it looked.",
        ]
        self._answer_words.set_text("\n".join(said))
        self._answer_card.set_visibility(True)
        self._beside.set_visibility(False)
        told, alt = json.dumps(found.sample), json.dumps("Where the model looked, in orange over the part in grey")
        source = f"'/review/overlay/' + encodeURIComponent({told})" if answer.has_map else "''"
        self._client.run_javascript(f"plumblineReview.answer({source}, {alt})")

    async def _look(self) -> None:
        """Look for a part where none was, and count anew: others label, and stations send."""
        if self._ended:
            return
        if self._desk.current is None and not self._answering and self._midnight:
            if not await run.io_bound(lambda: self._visit.may(Scope.REVIEW)):
                self._end()
                return
            await self._next()
        await self._tell_progress()

    async def _renew(self) -> None:
        if self._ended:
            return
        allowed = await run.io_bound(lambda: self._visit.may(Scope.REVIEW))
        if allowed is False:
            await run.io_bound(self._desk.leave)
            self._end()
            return
        if told := await run.io_bound(self._desk.renew):
            self._say(told)

    async def _look_again(self) -> None:
        await run.io_bound(self._desk.look_again_at_skipped)
        if self._desk.current is None:
            await self._next()
        await self._tell_progress()

    async def _tell_progress(self) -> None:
        try:
            found: Progress | None = await run.io_bound(self._desk.progress, self._midnight)
        except PlumblineError as error:
            self._say(f"The queue cannot be read: {error.one_line()}", bad=True)
            return
        if found is None or self._progress.is_deleted:
            return
        pace = f" · {found.a_minute:.1f} a minute over the last ten minutes" if found.a_minute else ""
        self._progress.set_text(f"{found.done} done today · {count(found.left, 'part')} left{pace}")
        passed = [
            f"{count(found.lost, 'part')} passed over: the pixels are lost" if found.lost else "",
            f"{count(found.on_the_way, 'image')} asked for and not here yet" if found.on_the_way else "",
            f"{count(found.skipped, 'part')} skipped by you" if found.skipped else "",
        ]
        self._passed.set_text(" · ".join(filter(None, passed)))
        self._again.set_visibility(found.skipped > 0)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._notice.set_text(text)
        self._notice.classes(remove="pl-info pl-bad", add="pl-bad" if bad else "pl-info")
        self._notice.set_visibility(True)

    def _end(self) -> None:
        self._ended = True
        self._say(_ENDED, bad=True)
        self._client.run_javascript("plumblineReview.stop()")
        for button in self._buttons.values():
            button.disable()
