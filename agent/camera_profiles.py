"""Ready [source] sections for the cameras that lines have (`firmware_config/cameras/*.toml`), comments and all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec

from contract.errors import NotFound


@dataclass(frozen=True, slots=True)
class CameraProfile:
    """`title`: the file's first comment; `text`: the file as it is; `source`: its [source], as TOML has it."""

    name: str
    title: str
    text: str
    source: dict[str, Any]


def camera_names() -> list[str]:
    """Return the names of all of them, sorted."""
    return sorted(entry.name[: -len(".toml")] for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def camera_profile(name: str) -> CameraProfile:
    """Return one.

    Raises:
        NotFound: there is none of this name.
    """
    # The name is a person's and becomes a file's name.
    if re.fullmatch(r"[a-z0-9-]{1,40}", name) is None or not (entry := _folder() / f"{name}.toml").is_file():
        raise NotFound(f"there is no camera profile '{name[:40]}'", hint=f"one of {', '.join(camera_names())}")
    text = entry.read_text(encoding="utf-8")
    return CameraProfile(name, text.partition("\n")[0].lstrip("# "), text, msgspec.toml.decode(text)["source"])


def _folder() -> Any:
    return files("firmware_config") / "cameras"
