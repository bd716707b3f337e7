"""The settings a station works with, read in one place: defaults < board < agent.toml < environment < order.

The only file of the agent that asks for the process's environment; `agent.settings_layers` says who wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.settings_checks import problems_of
from agent.settings_explain import complained_of, explain
from agent.settings_keys import File, Settings
from agent.settings_layers import Layer, Layers, Origin, laid_over, order_layer, read_layers
from agent.update.config_keys import moves_broker, why_beyond, why_never
from contract.errors import InvalidConfig
from contract.ids import check_station_id

__all__ = [
    "NO_SERVICE",
    "ServiceEnvironment",
    "Settings",
    "default_settings",
    "load_settings",
    "names_another_broker",
    "plain_settings",
    "service_environment",
    "settings_of",
]


# What of `Settings` is no key.
_ABOUT_THE_FILE = ("folder", "profile")


def load_settings(
    path: Path, remote: str = "", *, environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> Settings:
    """Return the settings of the file at `path` on this machine, with an order's TOML text `remote` laid over them.

    Args:
        environment: the process's; `agent.settings_environment` says which of it are settings.
        root: of the machine whose board's profile lies under the file.

    Raises:
        InvalidConfig: the file cannot be read, is no TOML, has an unknown key, or a value that cannot work; or one of the others
            has; or `remote` sets a key that no order may set, or one further than it may. The message says which it is in.
    """
    return settings_of(read_layers(path, environment, root, remote), path)


def settings_of(layers: Layers, path: Path) -> Settings:
    """Return what `layers` make, those of the file at `path` among them.

    Raises:
        InvalidConfig: as `load_settings`.
    """
    order = layers.get(Origin.ORDER)
    if not order.text:
        return _settings(layers, path)
    key, why = why_never(order.values)
    if key:
        raise _not_remotely(order, key, why)
    local = _settings(layers.under(Origin.ORDER), path)
    merged = _settings(layers, path)
    key, why = why_beyond(order.values, msgspec.to_builtins(local), msgspec.to_builtins(merged))
    if key:
        raise _not_remotely(order, key, why)
    return merged


def names_another_broker(remote: str) -> bool:
    """Return whether an order's TOML text, which was checked, names a broker."""
    return moves_broker(order_layer(remote).values) if remote else False


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return each key, as `section.key`, with its value in plain types, in the order of agent.toml's sections."""
    found: dict[str, Any] = {}
    for section, value in msgspec.to_builtins(settings).items():
        if isinstance(value, Mapping):
            found.update({f"{section}.{name}": each for name, each in value.items()})
        elif section not in _ABOUT_THE_FILE:
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


def _settings(layers: Layers, path: Path) -> Settings:
    try:
        read = msgspec.convert(layers.merged(), File)
    except msgspec.ValidationError as error:
        layer = layers.saying(complained_of(str(error))) or layers.get(Origin.FILE)
        raise explain(str(error), layer.where) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidConfig(f"'{path}' holds a value that cannot be used: {error}") from error
    settings = Settings(
        **{name: getattr(read, name) for name in File.__struct_fields__},
        folder=str(path.resolve().parent),
        profile=layers.board.name if layers.board else "",
    )
    check_station_id(settings.station)
    problems = problems_of(settings)
    if problems:
        raise misfit(layers, problems[0])
    return settings


def misfit(layers: Layers, problem: str) -> InvalidConfig:
    """Return `problem`, a sentence that begins with its key, as an error that says which layer it is in."""
    key = problem.partition(" ")[0]
    # What the others did not have without an order is the order's, whether or not the order names the key.
    order = layers.get(Origin.ORDER)
    layer = order if order.text else layers.saying(key) or layers.get(Origin.FILE)
    return InvalidConfig(f"{layer.where(key)}: {problem}", hint="plumbline-agent run --help shows every key")


def _not_remotely(order: Layer, key: str, why: str) -> InvalidConfig:
    return InvalidConfig(f"{order.where(key)}: no order sets '{key[:80]}' so: {why}")


def layers_here(path: Path, remote: str = "") -> Layers:
    """Return what every layer says on this machine, in this process's environment.

    Raises:
        InvalidConfig: as `load_settings`.
    """
    return read_layers(path, os.environ, Path("/"), remote)


@dataclass(frozen=True, slots=True)
class ServiceEnvironment:
    """What systemd tells a service: where to send notices ("": nowhere), and the watchdog's period (0: none)."""

    notify_socket: str = ""
    watchdog_s: float = 0.0


NO_SERVICE = ServiceEnvironment()


def service_environment(environment: Mapping[str, str] = os.environ) -> ServiceEnvironment:
    """Return it from the environment; a period that is no number, or is meant for another process, is none."""
    microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    mine = microseconds.isdecimal() and pid in ("", str(os.getpid()))
    return ServiceEnvironment(environment.get("NOTIFY_SOCKET", ""), int(microseconds) / 1e6 if mine else 0.0)
