"""Settings in the environment: PLUMBLINE_SECTION__KEY=value, as a unit's drop-in or a container sets them.

- `PLUMBLINE_LINE__THREADS=2` is `threads` of [line]; `PLUMBLINE__BOARD=none`, with no section, a key at the top.
- A value is one TOML value (`2`, `0.5`, `true`, `["a", "b"]`, `"text"`). For a key that holds text, what is no TOML text in
  quotes is taken as it stands: `PLUMBLINE_SOURCE__URL=rtsp://10.0.0.20/stream1`.
- [[cameras]] and [[models]] are lists of tables, and stay with agent.toml.
- Without the two underscores a variable is none of the station's settings: Kubernetes makes up PLUMBLINE_CLOUD_PORT from the
  name of a service.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

import msgspec

from agent.settings_keys import File
from contract.errors import InvalidConfig

PREFIX = "PLUMBLINE"
_NAME = re.compile(rf"{PREFIX}(?:_([A-Za-z0-9]+))?__([A-Za-z0-9]\w*)", re.ASCII)


def environment_name(key: str) -> str:
    """Return the variable that sets `section.key` (or a key at the top); "" when none does."""
    section, _, name = key.rpartition(".")
    keys = _settable().get(section)
    if keys is None or name not in keys:
        return ""
    return f"{PREFIX}{f'_{section}' if section else ''}__{name}".upper()


def environment_values(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what the environment sets, as a TOML file would say it.

    Raises:
        InvalidConfig: a variable names no key; the message says which was probably meant.
    """
    values: dict[str, Any] = {}
    for variable in sorted(environment):
        found = _NAME.fullmatch(variable)
        if found is None:
            continue
        section, name = (found[1] or "").lower(), found[2].lower()
        keys = _settable().get(section)
        if keys is None or name not in keys:
            raise _unknown(variable, section, name)
        value = _value(environment[variable], keys[name], variable)
        if section:
            values.setdefault(section, {})[name] = value
        else:
            values[name] = value
    return values


def nearly_settings(environment: Mapping[str, str]) -> list[str]:
    """Return, for a person, what looks like a setting and is none: `PLUMBLINE_LINE_THREADS`, with one underscore too few."""
    meant = {
        f"{PREFIX}_{section}_{name}".upper(): environment_name(f"{section}.{name}")
        for section, keys in _settable().items()
        for name in keys
        if section
    }
    return [f"{name} is not read as a setting; {meant[name]} would be" for name in sorted(environment) if name in meant]


@cache
def _settable() -> Mapping[str, Mapping[str, Any]]:
    """Return the type of each key that a variable sets, by section ("" for the top) and name."""
    found: dict[str, dict[str, Any]] = {"": {}}
    for field in msgspec.structs.fields(File):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found[field.name] = {key.name: key.type for key in msgspec.structs.fields(field.type)}
        elif isinstance(field.type, type):  # not tuple[CameraSettings, ...]
            found[""][field.name] = field.type
    return found


def _value(text: str, kind: Any, variable: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidConfig(f"the environment's {variable} is no text") from error
    try:
        read = msgspec.toml.decode(f"value = {text}")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return text
    # More than one key: the text had a line break, and what follows it is no part of a value.
    if set(read) != {"value"}:
        return text
    is_text = isinstance(kind, type) and issubclass(kind, str | Enum)
    return text if is_text and not isinstance(read["value"], str) else read["value"]


def _unknown(variable: str, section: str, name: str) -> InvalidConfig:
    keys, where = _settable(), f"the environment's {variable}"
    if section in ("cameras", "models"):
        return InvalidConfig(f"{where}: [[{section}]] is a list of tables", hint="set it in agent.toml")
    if section not in keys:
        nearest = difflib.get_close_matches(section, keys, n=1, cutoff=0.5)
        hint = f"did you mean '{environment_name(f'{nearest[0]}.{name}') or nearest[0]}'?" if nearest else ""
        return InvalidConfig(f"{where}: there is no section [{section}]", hint=hint or "plumbline-agent run --help")
    nearest = difflib.get_close_matches(name, keys[section], n=1, cutoff=0.5)
    known = ", ".join(sorted(keys[section]))
    key = f"{section}.{name}" if section else name
    hint = f"did you mean '{environment_name(f'{section}.{nearest[0]}'.lstrip('.'))}'?" if nearest else ""
    return InvalidConfig(f"{where}: unknown key '{key}'", hint=hint or f"the keys here are {known}")
