"""Where each effective setting comes from: a default, agent.toml, or an order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective key, as `section.key`, its value in plain types, and its origin: "default", "agent.toml" or "order"."""

    key: str
    value: Any
    origin: str


def effective_settings(path: Path, remote: str) -> list[Setting]:
    """Return every key in the order of agent.toml's sections, with `remote` laid over the file at `path`.

    Raises:
        InvalidConfig: as `agent.settings.load_settings`.
    """
    plain: dict[str, Any] = msgspec.to_builtins(load_settings(path, remote))
    here, above = msgspec.toml.decode(path.read_bytes()), msgspec.toml.decode(remote)
    found = []
    for field in Settings.__struct_fields__:
        if field == "folder":
            continue
        value = plain[field]
        for name in value if isinstance(value, Mapping) else ("",):
            key = f"{field}.{name}" if name else field
            said = "order" if _has(above, field, name) else "agent.toml" if _has(here, field, name) else "default"
            found.append(Setting(key, value[name] if name else value, said))
    return found


def _has(values: Mapping[str, Any], section: str, name: str) -> bool:
    return section in values and (not name or name in values[section])
