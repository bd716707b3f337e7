"""Where each effective setting comes from: a default, the board's profile, agent.toml, the environment, or an order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.settings import Settings, settings_of
from agent.settings_layers import Layers, Origin, read_layers

ABOUT_THE_FILE = ("folder", "profile")
"""What of `Settings` is no key."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective key, as `section.key`, its value in plain types, and its origin: a value of `settings_layers.Origin`."""

    key: str
    value: Any
    origin: str


def effective_settings(
    path: Path, remote: str, *, environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> list[Setting]:
    """Return every key in the order of agent.toml's sections, with `remote` laid over the file at `path`.

    Raises:
        InvalidConfig: as `agent.settings.load_settings`.
    """
    layers = read_layers(path, environment, root, remote)
    return [
        Setting(key, value, origin_of(layers, key).value)
        for key, value in plain_settings(settings_of(layers, path)).items()
    ]


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return each key, as `section.key`, with its value in plain types, in the order of agent.toml's sections."""
    found: dict[str, Any] = {}
    for section, value in msgspec.to_builtins(settings).items():
        if isinstance(value, Mapping):
            found.update({f"{section}.{name}": each for name, each in value.items()})
        elif section not in ABOUT_THE_FILE:
            found[section] = value
    return found


def origin_of(layers: Layers, key: str) -> Origin:
    """Return who said the value that is in force."""
    layer = layers.saying(key)
    return layer.origin if layer else Origin.DEFAULT
