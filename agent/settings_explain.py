"""A mistake in agent.toml in a person's words: the key, its line, and the key that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from agent.settings_keys import File
from contract.errors import InvalidConfig

_PATH = re.compile(r" - at `\$(.*?)`$")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")


def explain(text: str, where: Callable[[str, bool], str]) -> InvalidConfig:
    """Return msgspec's complaint in a person's words: the key, its line, and the key that was probably meant.

    `where(key, in_brackets)` says where a key stands, as `agent.settings_layers.Layer.where`.
    """
    match = _PATH.search(text)
    section = match[1].lstrip(".") if match else ""
    what = _PATH.sub("", text)
    unknown = _UNKNOWN.search(text)
    if unknown is None:
        missing = re.search(r"missing required field `(.+?)`", text)
        message = f"{where(section, True)}: {section + ': ' if section else ''}{what[0].lower() + what[1:]}"
        hint = f'add it, e.g. {missing[1]} = "..."' if missing else "plumbline-agent run --help shows every key"
        return InvalidConfig(message, hint=hint)
    key = unknown[1]
    known = _keys_of(section)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    full = f"{section}.{key}" if section else key
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"the keys here are {', '.join(sorted(known))}"
    return InvalidConfig(f"{where(full, False)}: unknown key '{full}'", hint=hint)


def complained_of(text: str) -> str:
    """Return the key that msgspec's complaint is about, as in `line_of`."""
    match, unknown = _PATH.search(text), _UNKNOWN.search(text)
    section = match[1].lstrip(".") if match else ""
    return ".".join(filter(None, (section, unknown[1] if unknown else "")))


def _keys_of(section: str) -> list[str]:
    kind: Any = File
    for name in filter(None, re.sub(r"\[\d*\]", "", section).split(".")):
        found = [field.type for field in msgspec.structs.fields(kind) if field.name == name]
        # An array of tables is tuple[Table, ...].
        table = (*get_args(found[0]), found[0])[0] if found else None
        if not isinstance(table, type) or not issubclass(table, msgspec.Struct):
            return []
        kind = table
    return [field.name for field in msgspec.structs.fields(kind)]


def line_of(source: str, full: str) -> int:
    """Return the line of key `a.b`, or `a[1].b` of the second [[a]] (or of section `a`) in TOML text, 0 when it is not found."""
    section, _, key = full.rpartition(".")
    key = re.sub(r"\[\d+\]$", "", key)  # an entry of a list stands where the list does
    current, arrays = "", Counter[str]()
    for number, line in enumerate(source.splitlines(), 1):
        header = re.match(r"\s*(\[+)\s*([^\]]+?)\s*\]+", line)
        if header:
            current = header[2]
            if header[1] == "[[":
                arrays[header[2]] += 1
                current = f"{header[2]}[{arrays[header[2]] - 1}]"
            if current == full:
                return number
        dotted = "" if current else re.escape(section) + r"\s*\.\s*" if section else ""
        if current in ("", section) and re.match(rf"\s*{dotted}['\"]?{re.escape(key)}['\"]?\s*[=.]", line):
            return number
    return 0
