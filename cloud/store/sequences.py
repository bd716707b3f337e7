"""Which sequences of a boot are accounted for: the highest, and what is missing below it, as ranges."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

# A station drains its newest windows first and resends in runs: a handful of ranges as a rule. Beyond this many, neighbours are
# taken together, and what lies between them counts as missing too until it is settled: `seen` still knows better.
MAX_RANGES = 500


@dataclass(slots=True)
class Sequences:
    """The sequences of one boot. `missing` are ranges [first, last], ascending, all within 1..`highest`."""

    highest: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)

    @property
    def watermark(self) -> int:
        """The sequence up to which all are accounted for."""
        return self.missing[0][0] - 1 if self.missing else self.highest

    @property
    def holes(self) -> int:
        """How many are missing."""
        return sum(last - first + 1 for first, last in self.missing)

    def is_open(self, seq: int) -> bool:
        """Return whether `seq` is neither stored nor covered yet; of 0, which no station gives, it is not kept."""
        return seq < 1 or seq > self.highest or any(first <= seq <= last for first, last in self.missing)

    def settle(self, first: int, last: int) -> None:
        """Account for the sequences [first, last]; ranges the wrong way round and what is settled already change nothing."""
        first = max(first, 1)
        if last < first:
            return
        if first > self.highest + 1:
            self.missing.append((self.highest + 1, first - 1))
        elif self.missing and first <= self.missing[-1][1]:
            self.missing = [part for hole in self.missing for part in _without(hole, first, last)]
        self.highest = max(self.highest, last)
        while len(self.missing) > MAX_RANGES:
            self._join_closest()

    def to_json(self) -> str:
        """Return the missing ranges as JSON."""
        return json.dumps(self.missing, separators=(",", ":")) if self.missing else "[]"

    def _join_closest(self) -> None:
        pairs = zip(self.missing, self.missing[1:], strict=False)
        at = min(enumerate(pairs), key=lambda pair: pair[1][1][0] - pair[1][0][1])[0]
        self.missing[at : at + 2] = [(self.missing[at][0], self.missing[at + 1][1])]


def sequences_from(highest: int, missing: str) -> Sequences:
    """Return what `to_json` wrote."""
    return Sequences(highest, [(first, last) for first, last in json.loads(missing)] if missing != "[]" else [])


def _without(hole: tuple[int, int], first: int, last: int) -> Iterable[tuple[int, int]]:
    if hole[0] < first:
        yield hole[0], min(hole[1], first - 1)
    if hole[1] > last:
        yield max(hole[0], last + 1), hole[1]
