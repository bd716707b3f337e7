"""Every mistake in a station's settings at once, where `load_settings` stops at the first, and what its board speaks against."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.health.board_profile import BoardProfile
from agent.settings import misfit, plain_settings
from agent.settings_checks import problems_of
from agent.settings_environment import nearly_settings
from agent.settings_explain import complained_of, explain
from agent.settings_keys import File, Settings
from agent.settings_layers import Layers, Origin, read_layers
from contract.errors import InvalidConfig
from contract.ids import check_station_id

_STAND_IN = "stand-in"
_REQUIRED = {"station", "home", "name", "bundle"}
_MISSING = re.compile(r"missing required field `(.+?)`")
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Examined:
    """`problems` keep the station from starting; `warnings` are sentences; `layers` is None where they could not be read."""

    problems: list[InvalidConfig] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layers: Layers | None = None


def examine_settings(path: Path, environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Examined:
    """Return all that is wrong with the file at `path` and the environment over it, without orders."""
    problems, warnings = [], nearly_settings(environment)
    try:
        layers = read_layers(path, environment, root)
    except InvalidConfig as error:
        problems.append(error)
        try:
            layers = read_layers(path, {}, root)  # it may have been a variable; then the file can still be examined
        except InvalidConfig as again:
            if again.message != error.message:
                problems.append(again)
            return Examined(problems, warnings)
    values = copy.deepcopy(layers.merged())
    read = _mended(values, layers, problems)
    if read is None:
        return Examined(problems, warnings, layers)
    try:
        check_station_id(read.station)
    except InvalidConfig as error:
        problems.append(error)
    # Two nameless models are told in the same words.
    words = dict.fromkeys(each for each in problems_of(read) if _STAND_IN not in each)
    problems += [misfit(layers, each) for each in words]
    if layers.board is not None:
        warnings += unwise(layers.board, read)
    return Examined(problems, warnings, layers)


def unwise(profile: BoardProfile, settings: Settings) -> list[str]:
    """Return, for a person, the values that work and that whoever knows the board would not choose."""
    plain = plain_settings(settings)
    found = [
        f"{each.key} = {plain[each.key]:g} is unwise on {profile.title}: {each.why}"
        for each in profile.unwise
        if each.is_met_by(plain[each.key])
    ]
    provider = settings.runtime.provider
    if provider not in ("auto", *profile.runtimes):
        found.append(
            f"runtime.provider = '{provider}' is not on {profile.title}, which has {', '.join(profile.runtimes)}"
        )
    return found


def _mended(values: dict[str, Any], layers: Layers, problems: list[InvalidConfig]) -> Settings | None:
    """Return settings without what is wrong in `values`, which goes to `problems`; None when that leads nowhere.

    msgspec stops at the first mistake, so that one is taken out, or replaced where it must be there, and it is asked again.
    """
    for turn in range(200):
        try:
            read = msgspec.convert(values, File)
        except msgspec.ValidationError as error:
            text, key = str(error), complained_of(str(error))
            layer = layers.saying(key) or layers.get(Origin.FILE)
            problems.append(explain(text, layer.where))
            missing = _MISSING.search(text)
            if missing:
                key = f"{key}.{missing[1]}" if key else missing[1]
            # A stand-in is for what must be there; a key that is not known is not wanted under any value.
            if not _take_out(values, key, "" if "unknown field" in text else f"{_STAND_IN}-{turn}"):
                return None
        except (ValueError, OverflowError, RecursionError) as error:
            problems.append(InvalidConfig(f"a value cannot be used: {error}"))
            return None
        else:
            return Settings(**{name: getattr(read, name) for name in File.__struct_fields__})
    return None


def _take_out(values: dict[str, Any], key: str, stand_in: str) -> bool:
    """Take `a.b` or `a[1].b` out of `values`, or put a `stand_in` that is not "" where it is required; return whether it could."""
    parts = [int(number) if number else name for name, number in _PART.findall(key)]
    here: Any = values
    for depth, part in enumerate(parts):
        within = isinstance(here, dict) if isinstance(part, str) else isinstance(here, list) and part < len(here)
        if not within:
            return False
        # An entry of a list of words goes with the whole list; an entry of a list of tables has keys below it.
        last = depth == len(parts) - 1 or (depth == 1 and isinstance(parts[-1], int))
        if not last:
            here = here.get(part) if isinstance(here, dict) else here[part]
            continue
        if stand_in and part in _REQUIRED:
            here[part] = stand_in
        elif isinstance(here, dict):
            return here.pop(part, None) is not None
        else:
            del here[part]
        return True
    return False
