"""The JSON Schema of agent.toml, for editors and for a plant's own checks: made from the one definition of the settings.

It says types, names and defaults, and in words what each key is for. What depends on more than one key (`cloud.url` where
`policy.fallback` is set), on the machine or on an order is for `plumbline-agent config check`: whatever a station takes, the
schema takes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.settings_example import words_of
from agent.settings_keys import File

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def settings_schema() -> dict[str, Any]:
    """Return it, in plain types."""
    schema: dict[str, Any] = msgspec.json.schema(File)
    for name, definition in schema["$defs"].items():
        for key, about in definition.get("properties", {}).items():
            words = words_of(f"{_SECTIONS[name]}.{key}" if _SECTIONS.get(name) else key)
            if words:
                about["description"] = words
    return {
        "$schema": DIALECT,
        "title": "agent.toml",
        "description": "The settings of a Plumbline station (plumbline-agent config explain KEY says more of one).",
        **schema,
    }


def _sections() -> dict[str, str]:
    """Return the section that each definition of the schema is for; "" for the top."""
    found = {File.__name__: ""}
    for field in msgspec.structs.fields(File):
        kind = field.type if isinstance(field.type, type) else field.type.__args__[0]
        if issubclass(kind, msgspec.Struct):
            found[kind.__name__] = field.name
    return found


_SECTIONS = _sections()
