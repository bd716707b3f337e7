"""Figures of the running server, for whoever scrapes it: a part that counts something gives its families, and knows no library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `kind` is "counter" (a total since the start or of all time; the name then ends in "_total") or "gauge"; `what`
    says it in words, with its unit. `samples` are (labels, value), and all have the same labels.

    A value that is not known is left out: absent is not 0.
    """

    name: str
    kind: str
    what: str
    samples: Sequence[tuple[Mapping[str, str], float]]


class Figures(Protocol):
    """Something that counts. `families` is called by the scraping thread, and must be quick."""

    def families(self) -> Iterable[Family]:
        """Return its metrics as they stand."""


def one(name: str, kind: str, what: str, value: float) -> Family:
    """Return a metric without labels."""
    return Family(name, kind, what, [({}, float(value))])


def each(name: str, kind: str, what: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a metric with one label."""
    return Family(name, kind, what, [({label: key}, float(value)) for key, value in sorted(values.items())])
