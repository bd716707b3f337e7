"""Draw every state table as a mermaid diagram into docs/states.md. usage: python -m scripts.draw_states [--check]

    --check    change nothing; exit 1 when a diagram no longer says what its table says

A table is `Mapping[State, Mapping[Event, State]]` of two Enums in a module named `*_states.py`. Every one must stand in TABLES:
`unlisted` names those that do not, and then nothing is drawn.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "states.md"
_PACKAGES = ("contract", "agent", "cloud")

Table = Mapping[Enum, Mapping[Enum, Enum]]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a table stands and how its story runs: it begins in `start`, and may rest for good in the states of `rests`.

    `step` names the function of the same module that looks a row up.
    """

    title: str
    module: str
    name: str
    step: str
    start: str
    rests: tuple[str, ...]

    def table(self) -> Table:
        """Return the table itself."""
        found: Table = getattr(importlib.import_module(self.module), self.name)
        return found


TABLES = (
    Machine(
        "One update on a station",
        "contract.update_states",
        "TABLE",
        "step",
        "IDLE",
        ("IDLE", "COMMITTED", "ROLLED_BACK"),
    ),
    Machine(
        "One change of the settings on a station",
        "contract.config_states",
        "TABLE",
        "step",
        "IDLE",
        ("IDLE", "COMMITTED", "ROLLED_BACK", "REFUSED"),
    ),
    Machine(
        "A released version",
        "cloud.rollout.version_states",
        "STAGE_TABLE",
        "step_stage",
        "STAGED",
        ("CANDIDATE", "CHAMPION", "FORMER", "RETIRED", "PRUNED"),
    ),
    Machine(
        "A rollout",
        "cloud.rollout.rollout_states",
        "ROLLOUT_TABLE",
        "step_rollout",
        "PROPOSED",
        ("DONE", "ABORTED"),
    ),
    Machine(
        "A station within a rollout",
        "cloud.rollout.rollout_states",
        "MEMBER_TABLE",
        "step_member",
        "PLANNED",
        ("COMMITTED", "FAILED", "BACK", "SKIPPED"),
    ),
)
"""Every state table of the code."""


def is_table(value: object) -> bool:
    """Return whether `value` has the form of a state table."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(state, Enum) and isinstance(row, Mapping) for state, row in value.items())
        and all(isinstance(each, Enum) for row in value.values() for pair in row.items() for each in pair)
        and any(row for row in value.values())
    )


def unlisted() -> list[str]:
    """Return "module.NAME" of every public table in a `*_states.py` that TABLES leaves out."""
    listed = {(machine.module, machine.name) for machine in TABLES}
    return [f"{module}.{name}" for module, name in _tables_found() if (module, name) not in listed]


def diagram(machine: Machine) -> str:
    """Return the mermaid text of a table in its own order; events between the same two states share an arrow."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.start}"]
    for state, row in machine.table().items():
        arrows: dict[str, list[str]] = {}
        for event, following in row.items():
            arrows.setdefault(following.name, []).append(str(event.value))
        lines += [f"    {state.name} --> {following}: {', '.join(events)}" for following, events in arrows.items()]
    return "\n".join([*lines, *(f"    {name} --> [*]" for name in machine.rests if name != machine.start)])


def page() -> str:
    """Return docs/states.md as it must be.

    Raises:
        LookupError: a table is not listed.
    """
    if left_out := unlisted():
        raise LookupError(f"not in TABLES of scripts/draw_states.py: {', '.join(left_out)}")
    parts = ["# State machines", "", "Drawn from the tables by `python -m scripts.draw_states`; do not edit."]
    for machine in TABLES:
        place = machine.module.replace(".", "/") + ".py"
        parts += ["", f"## {machine.title}", f"`{place}`, `{machine.name}`", "", "```mermaid", diagram(machine), "```"]
    return "\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Draw, or with --check compare."""
    parser = argparse.ArgumentParser(description="Draw every state table as a mermaid diagram into docs/states.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the page is stale")
    try:
        wanted = page()
        if not parser.parse_args(arguments).check:
            PAGE.write_text(wanted, encoding="utf-8")
        elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
            print("error: docs/states.md is stale (python -m scripts.draw_states draws it anew)", file=sys.stderr)
            return 1
    except LookupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _tables_found() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*_states.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, value in vars(importlib.import_module(module)).items():
                if not name.startswith("_") and is_table(value):
                    yield module, name


if __name__ == "__main__":
    sys.exit(main())
