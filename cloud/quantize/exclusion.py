"""Which nodes must stay in full precision so that int8 keeps enough accuracy: as few as a greedy search finds in its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud.ports.clock import Clock

Lost = Callable[[tuple[str, ...]], float]


@dataclass(frozen=True, slots=True)
class Found:
    """`excluded` nodes, () when no set was found to be enough; `tried` sets; `timed_out` when the time ran out first."""

    excluded: tuple[str, ...]
    lost: float
    tried: int
    timed_out: bool

    def is_enough(self, allowed: float) -> bool:
        """Return whether what is lost with these nodes excluded is no more than `allowed`."""
        return self.lost <= allowed


def search_exclusions(
    ranked: Sequence[str],
    lost: Lost,
    allowed: float,
    *,
    clock: Clock,
    within_s: float,
    always: tuple[str, ...] = (),
    say: Callable[[int, tuple[str, ...], float], None] = lambda *_: None,
) -> Found:
    """Return the smallest set found whose loss is at most `allowed`.

    Nodes are added in the order of `ranked` until the loss is low enough; then each is put back, the least sensitive first, and
    stays in int8 where it was not needed. The order depends on nothing but the arguments; the clock only ends the search.

    Args:
        ranked: nodes, the most sensitive first.
        lost: the accuracy that int8 loses with a set of nodes excluded.
        always: nodes that are excluded in every set.
        say: is told how many sets were tried, the last one, and its loss.
    """
    until = clock.monotonic() + within_s
    tried = 0

    def try_out(nodes: tuple[str, ...]) -> float:
        nonlocal tried
        value = lost((*always, *nodes))
        tried += 1
        say(tried, nodes, value)
        return value

    chosen: tuple[str, ...] = ()
    value = float("inf")
    for node in (each for each in ranked if each not in always):
        if clock.monotonic() >= until:
            return Found(always, value, tried, True)
        chosen = (*chosen, node)
        value = try_out(chosen)
        if value <= allowed:
            break
    if value > allowed:
        return Found(always, value, tried, False)
    # The last one made the difference; the others may have come along for nothing.
    for node in reversed(chosen[:-1]):
        if clock.monotonic() >= until:
            return Found((*always, *chosen), value, tried, True)
        fewer = tuple(each for each in chosen if each != node)
        without = try_out(fewer)
        if without <= allowed:
            chosen, value = fewer, without
    return Found((*always, *chosen), value, tried, False)
