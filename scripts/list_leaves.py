"""Write docs/what-leaves.md: every field that a station sends, from the contract. usage: python -m scripts.list_leaves [--check]

    --check    change nothing; exit 1 when the page no longer says what the messages hold

example: python -m scripts.list_leaves --check

Fields come from `contract.messages`; what each tells, in plain words, stands in WORDS, and a field without words is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from contract import messages
from contract.provisioning import EnrolRequest, RenewRequest
from contract.sketches.window import SketchIdentity, WindowWire, empty_window
from contract.sketches.wire import to_wire
from scripts.leaves_words import HTTP, NEARBY, SECTIONS, SENT, SPANS, WORDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "what-leaves.md"

_INTRODUCTION = """\
# What leaves a station

Written by `python -m scripts.list_leaves` from the messages' own definitions; do not edit. A test compares the two.

Under `[policy] images_leave = "never"` nothing below that is marked *image* is ever sent, whoever asks;
`tests/e2e/test_traffic_capture.py` records every byte of a station and looks for its frames. What is left are names, counts,
times and sums over frames. Sums of fewer than 16 frames do not leave then; of 16 or more the 64 projections tell, about as
sharply as a picture of 8 x 8 places, what those frames look like *together*. `[windows] sketch = false` keeps even that back, and
the station's drift is then not watched."""


def structs() -> list[type[msgspec.Struct]]:
    """Return the messages that a station sends and every struct inside them, in order."""
    roots: list[type[msgspec.Struct]] = [
        messages.Summary, messages.StationState, messages.ReportedState, messages.CommandResult, EnrolRequest, RenewRequest,
    ]  # fmt: skip
    found: list[type[msgspec.Struct]] = []
    while roots:
        kind = roots.pop(0)
        if kind not in found:
            found.append(kind)
            roots = [*_inside(kind), *roots]
    return found


def missing() -> list[str]:
    """Return every field and section that WORDS and SECTIONS do not explain, and every explanation of what is no longer there."""
    fields = {f"{kind.__name__}.{field}" for kind in structs() for field in kind.__struct_fields__}
    sections = set(to_wire(empty_window(SketchIdentity(2, 1, "", "", 1))).sections)
    return sorted((fields ^ set(WORDS)) | (sections ^ set(SECTIONS)))


def page() -> str:
    """Return docs/what-leaves.md as it must be.

    Raises:
        LookupError: something is not explained.
    """
    if unexplained := missing():
        raise LookupError(f"scripts/leaves_words.py and the contract differ: {', '.join(unexplained)}")
    parts = [_INTRODUCTION]
    for kind in structs():
        parts += ["", f"## {kind.__name__}", "", SENT[kind.__name__], "", "| field | what it tells |", "|---|---|"]
        parts += [f"| `{field}` | {WORDS[f'{kind.__name__}.{field}']} |" for field in kind.__struct_fields__]
        if kind is WindowWire:
            parts += [
                "",
                "Sections of a window, each summed over its frames:",
                "",
                "| section | what it tells |",
                "|---|---|",
            ]
            parts += [f"| `{name}` | {what} |" for name, what in SECTIONS.items()]
    parts += ["", "## Over HTTP", "", "Beside the messages above.", "", "| request | what it carries |", "|---|---|"]
    parts += [f"| `{request}` | {what} |" for request, what in HTTP.items()]
    parts += ["", "## Spans", "", "Of a drawn frame (`[trace] share`): when it was captured and decided, and", ""]
    parts += ["| attribute | what it tells |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in SPANS.items())]
    parts += [
        "",
        "## Nearer by",
        "",
        "What does not go to the cloud, but to whoever may ask or listen on the plant's network or the device.",
    ]
    parts += ["", "| what | what it carries |", "|---|---|", *(f"| {name} | {what} |" for name, what in NEARBY.items())]
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write, or with --check compare."""
    parser = argparse.ArgumentParser(
        description="Write every field that a station sends into docs/what-leaves.md.",
        epilog="example: python -m scripts.list_leaves --check",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    only_check = parser.parse_args(arguments).check
    try:
        wanted = page()
    except LookupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not only_check:
        PAGE.write_text(wanted)
    elif not PAGE.is_file() or PAGE.read_text() != wanted:
        print(f"error: {PAGE.name} is stale: run python -m scripts.list_leaves", file=sys.stderr)
        return 1
    return 0


def _inside(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    todo: list[Any] = [field.type for field in msgspec.structs.fields(kind)]
    while todo:
        each = todo.pop(0)
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            found.append(each)
        todo += get_args(each)
    return found


if __name__ == "__main__":
    sys.exit(main())
