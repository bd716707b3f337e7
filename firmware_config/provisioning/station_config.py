"""agent.toml of an enrolled station: what the plant says of it, and what is there of the camera and the line.

The plant gives the station's name, [broker], [cloud] and [trust]; everything else is this machine's own, from the provisioning
file before the agent.toml that is there. Tables are taken over as text, so that their comments stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from contract.errors import InvalidConfig

_OF_THE_PLANT = ("broker", "cloud", "trust")
_HEADER = re.compile(r"^[ \t]*\[(\[)?[ \t]*([A-Za-z0-9_.-]+)[ \t]*\]\]?[ \t]*(?:#.*)?$")
_TOP_KEY = re.compile(r"^[ \t]*(station|home)[ \t]*=")


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a TOML file as text, header included."""

    name: str
    text: str


def compose(enrolled: str, identity: Path, state: Path, here: str, wanted: str) -> str:
    """Return the text of agent.toml.

    Args:
        enrolled: the agent.toml that enrolment wrote into `identity`, where its relative paths start.
        state: the station's state; its home becomes `state`/state.
        here: the agent.toml that is there, "" for none.
        wanted: the tables [agent.NAME] of the provisioning file, as text.
    Raises:
        InvalidConfig: one of them is no TOML, or sets what the plant says.
    """
    plant, local, chosen = (_parse(text, what) for text, what in _named(enrolled, here, wanted))
    over = set(chosen) & set(_OF_THE_PLANT)
    if over:
        raise InvalidConfig(f"the provisioning file sets agent.{min(over)}", hint="that is the plant's to say")
    head, tables = split(here)
    kept = [line for line in head.splitlines() if not _TOP_KEY.match(line)]
    mine = [each for each in tables if each.name.split(".")[0] not in {*_OF_THE_PLANT, *chosen}]
    theirs = {name: _absolute(plant[name], identity) for name in _OF_THE_PLANT if name in plant}
    top = {"station": plant["station"], "home": str(state / "state")}
    parts = [
        "\n".join([*kept, *(f"{key} = {json.dumps(value)}" for key, value in top.items())]).strip("\n"),
        *(_table(name, values) for name, values in theirs.items()),
        *(each.text.strip("\n") for each in (*mine, *split(wanted)[1])),
    ]
    text = "\n\n".join(parts) + "\n"
    rest = {name: value for name, value in local.items() if name not in _OF_THE_PLANT}
    # A multi-line string may look like a header: then the text above is not what was meant, and nothing is written.
    if not _says(text, {**rest, **chosen, **top, **theirs}):
        raise InvalidConfig("agent.toml is written in a way that cannot be taken over", hint="write it more plainly")
    return text


def split(text: str) -> tuple[str, list[Table]]:
    """Return what stands before the first table, and the tables; a leading "agent." of their names is left out."""
    head: list[str] = []
    tables: list[Table] = []
    lines = head
    names: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        found = _HEADER.match(line)
        if found:
            name = found[2].removeprefix("agent.")
            lines = [line.replace(found[2], name, 1)]
            names.append((name, lines))
        else:
            lines.append(line)
    tables = [Table(name, "\n".join(of)) for name, of in names]
    return "\n".join(head), tables


def _named(enrolled: str, here: str, wanted: str) -> tuple[tuple[str, str], ...]:
    unwrapped = "\n".join(each.text for each in split(wanted)[1])
    return (enrolled, "what enrolment wrote"), (here, "agent.toml"), (unwrapped, "the provisioning file")


def _parse(text: str, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidConfig(f"{what} is no TOML: {error}") from error
    return found


def _says(text: str, meant: Mapping[str, Any]) -> bool:
    try:
        found: dict[str, Any] = msgspec.toml.decode(text)
    except msgspec.DecodeError:
        return False
    return found == meant


def _absolute(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `table` with its paths made absolute: they no longer lie beside the file."""

    def path(value: str) -> str:
        return str(folder / value) if value else value

    made = dict(table)
    for key, value in table.items():
        if key.endswith("_file") or key == "root":
            made[key] = path(value)
        elif key == "order_keys":
            made[key] = [path(each) for each in value]
    return made


def _table(name: str, values: Mapping[str, Any]) -> str:
    # A JSON string, number, true and list of strings are TOML too.
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
