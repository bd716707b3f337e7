"""Many summaries of a camera as few: what old windows become.

Counts add up and sketches merge exactly, so a day's summary says what its windows said together. What is about single windows is
given up: notes of kept frames (they are rows of their own), gaps (likewise) and fields that this version does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from contract.errors import SketchMismatch
from contract.messages import Accounting, Header, OpinionsNote, Summary
from contract.sketches.window import SketchIdentity, Window, merge
from contract.sketches.wire import from_wire, to_wire


@dataclass(frozen=True, slots=True)
class _Coarse:
    """A summary that grows. `members`: the places of those that went in, in the order they were given."""

    header: Header
    accounting: Accounting
    window: Window | None
    opinions: OpinionsNote | None
    last: Summary
    members: tuple[int, ...]


def merge_summaries(summaries: Sequence[Summary]) -> list[tuple[Summary, list[int]]]:
    """Return as few summaries as can stand for `summaries`, each with the places of those it stands for.

    They are of one camera, boot and bundle, oldest first. Windows of different sketches stay apart, and so do those that together
    hold more frames than a window can.

    Raises:
        BadMessage: a window cannot be read.
    """
    growing: dict[SketchIdentity | None, list[_Coarse]] = {}
    for place, summary in enumerate(summaries):
        window = None if summary.window is None else from_wire(summary.window)
        one = _Coarse(summary.header, summary.accounting, window, summary.opinions, summary, (place,))
        of_kind = growing.setdefault(None if window is None else window.identity, [])
        try:
            of_kind[-1:] = [_join(of_kind[-1], one)] if of_kind else [one]
        except SketchMismatch:  # full
            of_kind.append(one)
    return [(_said(each), list(each.members)) for kind in growing.values() for each in kind]


def _join(first: _Coarse, second: _Coarse) -> _Coarse:
    a, b = first.header, second.header
    header = Header(
        a.station,
        a.boot,
        max(a.seq, b.seq),
        min(a.started_at, b.started_at),
        max(a.ended_at, b.ended_at),
        b.monotonic_s,
        a.clock_synced and b.clock_synced,
        a.bundle,
        camera=a.camera,
    )
    window = first.window
    if window is not None and second.window is not None:
        window = merge(window, second.window)
    return replace(
        second,
        header=header,
        accounting=_sum_accounting((first.accounting, second.accounting)),
        window=window,
        opinions=_sum_opinions(first.opinions, second.opinions),
        last=second.last if second.last.shadow or not first.last.shadow else first.last,
        members=first.members + second.members,
    )


def _said(coarse: _Coarse) -> Summary:
    if len(coarse.members) == 1:
        return coarse.last
    return Summary(
        coarse.header,
        coarse.accounting,
        None if coarse.window is None else to_wire(coarse.window),
        shadow=coarse.last.shadow,
        simulated=coarse.last.simulated,
        note=f"{len(coarse.members)} windows in one",
        opinions=coarse.opinions,
        health=coarse.last.health,
    )


def _sum_accounting(parts: Sequence[Accounting]) -> Accounting:
    plain = ("captured", "passed", "rejected", "undecided", "asked_cloud", "cloud_answers")
    sums = {name: sum(getattr(part, name) for part in parts) for name in plain}
    return Accounting(
        **sums, review=_sum_counts(part.review for part in parts), dropped=_sum_counts(part.dropped for part in parts)
    )


def _sum_opinions(first: OpinionsNote | None, second: OpinionsNote | None) -> OpinionsNote | None:
    if first is None or second is None:
        return first or second
    plain = ("queued", "answered", "passed", "rejected", "unsure", "agreed")
    sums = {name: getattr(first, name) + getattr(second, name) for name in plain}
    return OpinionsNote(**sums, gone=_sum_counts((first.gone, second.gone)))


def _sum_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
