"""Settings key by key: their values in plain types, and where each comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.settings import Settings
from agent.settings_layers import Layers, Origin, laid_over

ABOUT_THE_FILE = ("folder", "profile")
"""What of `Settings` is no key."""


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return each key, as `section.key`, with its value in plain types, in the order of agent.toml's sections."""
    found: dict[str, Any] = {}
    for section, value in msgspec.to_builtins(settings).items():
        if isinstance(value, Mapping):
            found.update({f"{section}.{name}": each for name, each in value.items()})
        elif section not in ABOUT_THE_FILE:
            found[section] = value
    return found


_PASSWORDS = re.compile(r"(?<=//)[^\s\"']*@|(?<=user-pw=)[^\s!]+")
"""User and password in an address, and as GStreamer's rtspsrc takes one."""


def shown(value: Any) -> Any:
    """Return a setting's value as a screen may show it: without the passwords of cameras."""
    if isinstance(value, str):
        return _PASSWORDS.sub(lambda found: "***@" if found[0].endswith("@") else "***", value)
    if isinstance(value, Mapping):
        return {key: shown(each) for key, each in value.items()}
    return [shown(each) for each in value] if isinstance(value, list | tuple) else value


def default_settings(over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return each key with its default, as `plain_settings`, or with what `over` says in its place; None where it has none."""
    required = {"station": "", "home": ""}
    found = plain_settings(msgspec.convert(laid_over([over or {}, required]), Settings))
    return {**found, **dict.fromkeys(required)}


def origin_of(layers: Layers, key: str) -> Origin:
    """Return who said the value that is in force."""
    layer = layers.saying(key)
    return layer.origin if layer else Origin.DEFAULT
