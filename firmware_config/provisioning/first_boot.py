"""From a provisioning file to a station: enrol once, write agent.toml, destroy the file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.settings import load_settings
from contract.errors import InvalidConfig, RefusedError
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

    @property
    def mark(self) -> Path:
        """Which provisioning file the identity was asked for with, as a hash."""
        return self.state / "provisioned"


Enrol = Callable[[Provision, Path], None]
"""Enrols into a folder, or raises; the token must not stand in a command line, which every user may read."""


def provision(file: Path, place: Place, enrol: Enrol) -> str:
    """Make this machine the station that `file` says; return the station's name.

    Each step may be cut off and is done again by the next call: enrolment answers the same token again, and once it is
    whole it is not repeated; the file goes last, and a blank one has been used.

    Raises:
        InvalidConfig: the file, the agent.toml that is there or the one that would be, is not as it must be. The file is kept.
        RefusedError: this machine was enrolled before, with another file or by hand. The file is kept.
        PlumblineError: what `enrol` raises. The file is kept.
    """
    enrolled = place.identity / "agent.toml"
    try:
        text = file.read_text(encoding="utf-8")
        if not text.strip() and place.mark.exists() and enrolled.exists() and place.config.exists():
            file.unlink()
            return load_settings(place.config).station
        wanted = msgspec.toml.decode(text, type=Provision)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "it holds url, token and ca_sha256, and tables [agent.NAME]: see provision.toml.example"
        raise InvalidConfig(f"'{file}': {error}", hint=hint) from error
    plain = {key for key, value in wanted.agent.items() if not isinstance(value, (dict, list))}
    if plain:
        raise InvalidConfig(f"'{file}' sets agent.{min(plain)}", hint="it may bring tables, [agent.NAME]")
    tables = "\n".join(table.text for table in split(text)[1])
    here = place.config.read_text(encoding="utf-8") if place.config.exists() else ""
    asked = hashlib.sha256("\n".join((wanted.url, wanted.token, wanted.ca_sha256)).encode()).hexdigest()
    if not enrolled.exists():
        _write(place.mark, asked, None)
        enrol(wanted, place.identity)
    elif not place.mark.exists() or place.mark.read_text(encoding="utf-8") != asked:
        raise RefusedError(
            "this machine is enrolled already, and not with this file",
            hint=f"to make another station of it, move '{place.identity}' away; else remove the file",
        )
    made = compose(enrolled.read_text(encoding="utf-8"), place.identity, place.state, here, tables)
    for path in (place.state, place.mark, place.identity, *place.identity.rglob("*")):
        _give(path, place.owner)
    if here and here != made:
        shutil.copy2(place.config, place.config.with_suffix(".toml.before"))
    _write(place.config, made, (0, place.owner[1]) if place.owner else None, load_settings)
    _destroy(file)
    station: str = msgspec.toml.decode(made)["station"]
    return station


def _give(path: Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)


def _write(
    path: Path, text: str, owner: tuple[int, int] | None, check: Callable[[Path], object] = lambda _path: None
) -> None:
    """Write `text` durably, or not at all; `check` looks at the file before it stands there, and may raise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.tmp")
    with partial.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o640)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _give(partial, owner)
    try:
        check(partial)
    except InvalidConfig:
        partial.unlink()
        raise
    partial.replace(path)
    # The provisioning file goes next: what was made of it must not be lost with the power.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _destroy(file: Path) -> None:
    """Overwrite `file` with blanks and remove it; cut off between the two, the next call knows a blank file.

    Flash may keep the old blocks; that token has been used up, and is refused from now on.
    """
    size = file.stat().st_size
    with file.open("r+b") as content:
        content.write(b"\n" * size)
        content.flush()
        os.fsync(content.fileno())
    file.unlink()
