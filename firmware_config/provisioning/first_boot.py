"""From a provisioning file to a station: enrol once, write agent.toml, destroy the file."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contract.errors import InvalidConfig
from firmware_config.provisioning.station_config import compose, split


class Provision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    url: str
    token: str
    ca_sha256: str
    agent: dict[str, object] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a station's parts lie, and whose they are; `owner` is (user id, group id), None to leave that as it comes."""

    config: Path
    state: Path
    owner: tuple[int, int] | None = None

    @property
    def identity(self) -> Path:
        """The folder of key, certificate and pinned trust; the station renews them there by itself."""
        return self.state / "station"


Enrol = Callable[[Provision, Path], None]
"""Enrols into a folder, or raises; the token must not stand in a command line, which every user may read."""


def provision(file: Path, place: Place, enrol: Enrol) -> str:
    """Make this machine the station that `file` says; return the station's name.

    Each step may be cut off and is done again by the next call: enrolment answers the same token again, and once it is
    whole it is not repeated; the file goes last.

    Raises:
        InvalidConfig: the file, or the agent.toml that is there, is not as it must be. The file is kept.
        PlumblineError: what `enrol` raises. The file is kept.
    """
    text = file.read_text(encoding="utf-8")
    try:
        wanted = msgspec.toml.decode(text, type=Provision)
    except msgspec.DecodeError as error:
        hint = "it holds url, token and ca_sha256, and tables [agent.NAME]: see provision.toml.example"
        raise InvalidConfig(f"'{file}': {error}", hint=hint) from error
    plain = {key for key, value in wanted.agent.items() if not isinstance(value, (dict, list))}
    if plain:
        raise InvalidConfig(f"'{file}' sets agent.{min(plain)}", hint="it may bring tables, [agent.NAME]")
    tables = "\n".join(table.text for table in split(text)[1])
    here = place.config.read_text(encoding="utf-8") if place.config.exists() else ""
    enrolled = place.identity / "agent.toml"
    if not enrolled.exists():
        enrol(wanted, place.identity)
    made = compose(enrolled.read_text(encoding="utf-8"), place.identity, place.state, here, tables)
    for path in (place.state, place.identity, *place.identity.rglob("*")):
        _give(path, place.owner)
    if here and here != made:
        shutil.copy2(place.config, place.config.with_suffix(".toml.before"))
    _write(place.config, made, (0, place.owner[1]) if place.owner else None)
    _destroy(file)
    station: str = msgspec.toml.decode(made)["station"]
    return station


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)


def _write(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".toml.tmp")
    with partial.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o640)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _give(partial, owner)
    partial.replace(path)


def _destroy(file: Path) -> None:
    """Overwrite and remove `file`. Flash may keep the old blocks; that token has been used up, and is refused from now on."""
    size = file.stat().st_size
    with file.open("r+b") as content:
        content.write(secrets.token_bytes(size))
        content.flush()
        os.fsync(content.fileno())
    file.unlink()
