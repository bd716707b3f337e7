"""What each key of agent.toml is for, from the comments of its example: the one place where that is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from agent.settings_example import EXAMPLE

_HEADER = re.compile(r"#?\[\[?([a-z_]+)\]\]?$")
_KEY = re.compile(r"#?([a-z_]+) = ((?:\"(?:[^\"\\]|\\.)*\"|[^#\"])*?)\s*(?:#\s*(.*))?$")


@dataclass(frozen=True, slots=True)
class Described:
    """One key: the example's value as TOML text, and what it is for, "" where its name says it."""

    value: str
    words: str


@cache
def described() -> Mapping[str, Described]:
    """Return every key of the example, as `section.key`; also those of [[cameras]] and [[models]], which are commented out.

    A list of tables itself is for what the comment above it says.
    """
    found: dict[str, Described] = {}
    section = above = ""
    for line in EXAMPLE.splitlines():
        header = _HEADER.match(line)
        if header:
            section = header[1]
            if "[[" in line:
                found[section] = Described("[]", above)
            continue
        above = line.removeprefix("# ") if line.startswith("# ") else ""
        key = _KEY.match(line)
        if key:
            name = f"{section}.{key[1]}" if section else key[1]
            found.setdefault(name, Described(key[2], key[3] or ""))
    return MappingProxyType(found)


def words_of(key: str) -> str:
    """Return what `section.key` is for; a key of [[cameras]] is for what the same key of [source] is for."""
    known = described()
    if key.startswith("cameras.") and not (key in known and known[key].words):
        key = key.replace("cameras.", "source.", 1)
    return known[key].words if key in known else ""
