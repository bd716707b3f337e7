"""What inspectors disagree on, for who settles it; and how often they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from urllib.parse import quote

from nicegui import run, ui
from starlette.requests import Request

from cloud.api.auth import Scope
from cloud.dashboard.paged_table import Row
from cloud.dashboard.parts import (
    Column,
    Kind,
    Page,
    act,
    ask_reason,
    card,
    count,
    empty,
    link,
    live,
    paged_table,
    words,
)
from cloud.dashboard.shell import Shell, Visit
from cloud.ports.samples import Sample
from cloud.review.agreement import LabelAct, standing_acts
from cloud.review.label_choice import LabelChoice, stored
from cloud.review.labellers import Agreement, agreement
from cloud.store.samples import Samples
from contract.errors import PlumblineError

SHOWN = 20
_READ_S = 5.0


@dataclass(frozen=True, slots=True)
class Dispute:
    """A part on which people disagree, and what each says of it."""

    sample: Sample
    said: tuple[LabelAct, ...]


@dataclass(frozen=True, slots=True)
class DisputesView:
    """The first `SHOWN` of them, how many there are, and how often people agree at all."""

    shown: tuple[Dispute, ...]
    total: int
    agreement: Agreement


def disputes_view(samples: Samples) -> DisputesView:
    """Return what the page shows."""
    found = samples.disputes(SHOWN)
    shown = tuple(Dispute(each, tuple(standing_acts(samples.labels.of(each.sample)))) for each in found)
    return DisputesView(shown, samples.disputed(), agreement(samples.labels.all()))


def settle(
    samples: Samples,
    choice: LabelChoice,
    seen: Sequence[LabelAct],
    sample: str,
    label: str,
    who: str,
    why: str,
    now: float,
) -> str:
    """Settle what people disagree on, and return "" or, in words, why not: others may have spoken since it was `seen`."""
    if standing_acts(samples.labels.of(sample)) != list(seen):
        return f"Somebody said more of part {sample} meanwhile: look at it again. Nothing was stored."
    try:
        samples.label(sample, choice.check(label), who, now, resolve=True, reason=why)
    except PlumblineError as error:
        return f"Not stored: {error.one_line()}"
    return ""


def install_disputes(
    shell: Shell, samples: Samples, choice: Callable[[], LabelChoice], now: Callable[[], float]
) -> None:
    """Add the page "/review/disagreements". Call it before `ui.run_with`."""

    @ui.page("/review/disagreements")
    def page(request: Request) -> None:
        if (entered := shell.enter(request, "Disagreements", "/review", Scope.TUNE)) is None:
            return
        visit, column = entered
        with column:
            _DisputesScreen(visit, samples, choice, now)


class _DisputesScreen:
    def __init__(
        self, visit: Visit, samples: Samples, choice: Callable[[], LabelChoice], now: Callable[[], float]
    ) -> None:
        self._visit, self._samples, self._choice, self._now = visit, samples, choice, now
        self._drawn: tuple[Dispute, ...] | None = None
        link("Back to the review", "/review")
        self._notice = ui.label().classes("pl-banner pl-info dispute-notice").props('role="status"')
        self._notice.set_visibility(False)
        self._headline = words("")
        self._place = ui.column().classes("w-full gap-3")
        with card("How often people agree"):
            self._agreement = words("").classes("agreement")
            columns = (
                Column("labeller", "Labeller"),
                Column("labelled", "Parts labelled", Kind.NUMBER),
                Column("images", "Also by another", Kind.NUMBER),
                Column("agreed", "Of those agreed", Kind.NUMBER),
                Column("kappa", "Kappa", Kind.NUMBER),
            )
            self._people = paged_table(
                "labellers", columns, title="Labellers", nothing="Nobody has labelled anything yet."
            )
        self._live = live(
            visit,
            lambda: disputes_view(samples),
            self._show,
            _READ_S,
            needs=Scope.TUNE,
            what="The disagreements",
        )

    def _show(self, found: DisputesView) -> None:
        more = f", the first {SHOWN} are shown" if found.total > SHOWN else ""
        self._headline.set_text(f"{count(found.total, 'part')} on which people disagree{more}.")
        total = found.agreement
        self._agreement.set_text(
            f"{count(total.images, 'image')} labelled by two people: they agree on {_share(total.raw)} of them, "
            f"Cohen's kappa {_share(total.kappa)} (1: always; 0: as often as by chance)."
            if total.images
            else "No image was labelled by two people yet."
        )
        rows: list[Row] = [
            {
                "labeller": each.labeller,
                "labelled": each.labelled,
                "images": each.images,
                "agreed": each.agreed,
                "kappa": _share(each.kappa),
            }
            for each in total.labellers
        ]
        self._people.show(Page(rows, len(rows)))
        if found.shown != self._drawn:
            self._drawn = found.shown
            self._place.clear()
            with self._place:
                if not found.shown:
                    empty("Nobody disagrees.", "What two people label differently comes here and back to the queue.")
                for each in found.shown:
                    self._draw(each)

    def _draw(self, each: Dispute) -> None:
        found = each.sample
        with card(f"Part {found.part or found.sample}", 3).classes("dispute"), ui.row().classes("gap-4 items-start"):
            picture = ui.element("img").classes("max-h-64 max-w-sm")
            picture.props["src"] = f"/review/image/{quote(found.sample, safe='')}"
            picture.props["alt"] = f"Part {found.part or found.sample}"
            with ui.column().classes("gap-1"):
                where = f"station {found.station}" + (f", camera {found.camera}" if found.camera else "")
                words(f"{where} · {_time(found.captured_at)}", muted=True)
                for act_ in each.said:
                    words(f"{act_.labeller} says {act_.label or act_.kind.value} ({_time(act_.at)})")
                choice = self._choice()
                names = list(choice.names) or sorted({act_.label for act_ in each.said if act_.label})
                chosen = _several(names) if choice.several else _one(names)
                act("Settle it …", partial(self._settle, each, chosen, several=choice.several))

    async def _settle(self, each: Dispute, chosen: Callable[[], Sequence[str]], *, several: bool) -> None:
        said = chosen()
        shown = ", ".join(said)
        if not shown:
            self._say("Choose first what it is.", bad=True)
            return
        label = stored(said, always=True) if several else shown
        why = await ask_reason(f"Settle part {each.sample.part or each.sample.sample} as {shown}", "Settle")
        if why is None:
            return
        told = await run.io_bound(self._in_thread, each, label, why)
        if told is not None:
            self._say(told or f"Part {each.sample.part or each.sample.sample} is {shown}.", bad=bool(told))
        await self._live.refresh()

    def _in_thread(self, each: Dispute, label: str, why: str) -> str:
        person = self._visit.person
        if person is None or not person.may(Scope.TUNE):
            return "Your session has ended, or you may no longer settle labels: sign in again. Nothing was stored."
        name = each.sample.sample
        return settle(self._samples, self._choice(), each.said, name, label, person.name, why, self._now())

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._notice.set_text(text)
        self._notice.classes(remove="pl-info pl-bad", add="pl-bad" if bad else "pl-info")
        self._notice.set_visibility(True)


def _one(names: Sequence[str]) -> Callable[[], Sequence[str]]:
    chosen = ui.select(list(names), label="It is").props("outlined dense options-dense").classes("w-64")
    return lambda: [chosen.value] if chosen.value else []


def _several(names: Sequence[str]) -> Callable[[], Sequence[str]]:
    """Draw a box to tick for each, and return what gives those that are ticked, in the order of `names`.

    A list of which several can be chosen sends all that it knows to be chosen; a second choice before the server's answer to the
    first would take the place of the first. Of boxes each speaks for itself.
    """
    with ui.element("div").props('role="group" aria-label="It is"').classes("flex flex-col"):
        words("It is", muted=True).props('aria-hidden="true"')
        boxes = {name: ui.checkbox(name).props("dense").classes("pl-break") for name in names}
    return lambda: [name for name, box in boxes.items() if box.value]


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
