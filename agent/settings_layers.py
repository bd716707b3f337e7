"""What settings are made of: layers, each over the one before (defaults < board < agent.toml < environment < order).

The order of the layers is here, and with it who wins: nothing else of the agent decides it. What is laid over what is plain
TOML values; `agent.settings` makes settings of them and checks those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from agent.health.board_profile import BoardProfile, profile_named, profile_of
from agent.settings_environment import environment_name, environment_values
from agent.settings_explain import line_of
from contract.errors import InvalidConfig, NotFound


class Origin(str, Enum):
    """Who says it, the strongest last."""

    DEFAULT = "default"
    BOARD = "board"
    FILE = "agent.toml"
    ENVIRONMENT = "environment"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one origin says. `name`: what a mistake in it is said to be in; `text`: its TOML, "" where it has none."""

    origin: Origin
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    def says(self, key: str) -> bool:
        """Return whether it has `section.key`, or a key at the top, or any of [section]."""
        section, _, name = key.partition(".")
        under = self.values.get(section.partition("[")[0])
        return under is not None and (not name or not isinstance(under, Mapping) or name.partition("[")[0] in under)

    def value(self, key: str) -> Any:
        """Return what it says of `section.key`, or of a key at the top; None if nothing."""
        section, _, name = key.partition(".")
        under = self.values.get(section)
        return under.get(name) if name and isinstance(under, Mapping) else None if name else under

    def where(self, key: str, in_brackets: bool = False) -> str:
        """Return where in it `key` stands, for the beginning of a message."""
        if self.origin is Origin.ENVIRONMENT:
            return f"the environment's {environment_name(key) or key}"
        line = line_of(self.text, key) if key else 0
        return f"'{self.name}'{(f' (line {line})' if in_brackets else f' line {line}') if line else ''}"


REMOTE = "remote settings"
"""What a mistake in an order's settings is said to be in, where a mistake in a file names its path."""


@dataclass(frozen=True, slots=True)
class Layers:
    """All of them, weakest first, and the profile of the board they were read on (None: `board = "none"`)."""

    layers: tuple[Layer, ...]
    board: BoardProfile | None

    def under(self, origin: Origin) -> Layers:
        """Return those that are weaker than `origin`."""
        order = list(Origin)
        return Layers(tuple(each for each in self.layers if order.index(each.origin) < order.index(origin)), self.board)

    def get(self, origin: Origin) -> Layer:
        """Return one; it says nothing where there is none."""
        return next((layer for layer in self.layers if layer.origin is origin), Layer(origin, origin.value))

    def saying(self, key: str) -> Layer | None:
        """Return the strongest that has `key`; None where the default stands."""
        return next((layer for layer in reversed(self.layers) if layer.says(key)), None)

    def merged(self) -> dict[str, Any]:
        """Return their values laid over each other."""
        return laid_over(layer.values for layer in self.layers)


def laid_over(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each one's keys over those before it; of two tables with one name both keep their keys."""
    merged: dict[str, Any] = {}
    for values in layers:
        for name, value in values.items():
            under = merged.get(name)
            both = isinstance(value, Mapping) and isinstance(under, Mapping)
            merged[name] = {**under, **value} if both else value  # type: ignore[dict-item]  # both are mappings
    return merged


def read_layers(path: Path, environment: Mapping[str, str], root: Path, remote: str = "") -> Layers:
    """Return what the board, the file at `path`, the environment and an order's TOML text say.

    Args:
        root: of the machine whose device tree and memory say which board it is.

    Raises:
        InvalidConfig: the file cannot be read, one of them is no TOML, `board` names no profile, or a variable no key.
    """
    file = file_layer(path)
    above = Layer(Origin.ENVIRONMENT, "environment", environment_values(environment))
    profile = _profile(file, above, root)
    layers = [file, above] if profile is None else [board_layer(profile), file, above]
    if remote:
        layers.append(order_layer(remote))
    return Layers(tuple(layers), profile)


def origin_of(layers: Layers, key: str) -> Origin:
    """Return who said the value that is in force."""
    layer = layers.saying(key)
    return layer.origin if layer else Origin.DEFAULT


def file_layer(path: Path) -> Layer:
    """Return agent.toml.

    Raises:
        InvalidConfig: it cannot be read, or is no TOML.
    """
    try:
        payload = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidConfig(f"no config file '{path}'", hint="plumbline-agent run --help shows an example") from error
    except OSError as error:
        raise InvalidConfig(f"'{path}' cannot be read: {error.strerror or error}") from error
    return Layer(Origin.FILE, str(path), _parsed(payload, str(path)), payload.decode(errors="replace"))


def board_layer(profile: BoardProfile) -> Layer:
    """Return what a board's profile sets."""
    return Layer(Origin.BOARD, f"board profile {profile.name}", profile.settings)


def order_layer(remote: str) -> Layer:
    """Return an order's settings.

    Raises:
        InvalidConfig: they are no TOML.
    """
    try:
        payload = remote.encode()
    except UnicodeEncodeError as error:
        raise InvalidConfig(f"'{REMOTE}' is no text: {error}") from error
    return Layer(Origin.ORDER, REMOTE, _parsed(payload, REMOTE), remote)


def _parsed(payload: bytes, name: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = msgspec.toml.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"'{name}' is no TOML: {error}") from error
    return values


def _profile(file: Layer, above: Layer, root: Path) -> BoardProfile | None:
    said = above if above.says("board") else file
    wanted = said.value("board") if said.says("board") else "auto"
    if wanted == "none":
        return None
    if wanted == "auto" or not isinstance(wanted, str):  # a value of another type is found wrong where all types are
        return profile_of(root)
    try:
        return profile_named(wanted)
    except NotFound as error:
        raise InvalidConfig(f"{said.where('board')}: {error.message}", hint=error.hint) from error
