"""One image's verdict, as a line of JSON or of CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec


class Beside(msgspec.Struct, frozen=True):
    """A further defect that the model sees in an image, and how sure it is, 0..1."""

    label: str
    confidence: float


class Scored(msgspec.Struct, frozen=True):
    """One image's line. `error` is "" unless it could not be judged; `cause` is "" unless REVIEW is not for doubt.

    `also`: further defects beside `label`, likeliest first, where the model's labels do not exclude each other.
    """

    image: str
    verdict: str
    label: str
    confidence: float
    ms: float
    bundle: str
    error: str = ""
    cause: str = ""
    also: tuple[Beside, ...] = ()


COLUMNS: tuple[str, ...] = Scored.__struct_fields__
"""The columns of a CSV of lines."""


def csv_line(values: Sequence[Any]) -> bytes:
    """Return cells as a line of CSV."""
    text = io.StringIO(newline="")
    # The writer quotes the line end it was given, but a reader also ends a line at a bare carriage return.
    if any("\r" in str(value) for value in values):
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(values)
    else:
        csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def cells_of(scored: Scored) -> tuple[Any, ...]:
    """Return a line's cells; further defects are one, as JSON, and an empty one where there are none."""
    *cells, also = msgspec.structs.astuple(scored)
    return (*cells, msgspec.json.encode(also).decode() if also else "")


def of_cells(row: dict[str, Any]) -> Scored:
    """Return the line whose cells, by column, `cells_of` wrote.

    Raises:
        ValueError: they are others.
    """
    return msgspec.convert({**row, "also": msgspec.json.decode(row["also"] or "[]")}, Scored, strict=False)


def without_blanks(scored: Scored) -> dict[str, Any]:
    """Return a line as a JSON object, without what it has nothing to say about."""
    blank = ("error", "cause", "also")
    return {name: value for name, value in msgspec.to_builtins(scored).items() if value or name not in blank}
