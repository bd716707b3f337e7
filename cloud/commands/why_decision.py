"""A decision to be explained: one that the cloud keeps as a sample, or one that a station has in its database or told as JSON."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from contract.errors import BadMessage, InvalidConfig, NotFound
from contract.ids import is_digest

_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Decision:
    """What a station decided, as far as that is known. `bundle` is "" where no model decided, None where that is not known.

    `sample`: its name in the cloud, "" where it was not kept. `artefact`, `artefact_sha256`: which of the bundle's files ran, ""
    where nobody told. `lineage`: what the station's bundle says of its origin.
    """

    id: str = ""
    station: str = ""
    camera: str = ""
    part: str = ""
    captured_at: float | None = None
    verdict: str = ""
    cause: str = ""
    label: str = ""
    confidence: float | None = None
    bundle: str | None = None
    sample: str = ""
    artefact: str = ""
    artefact_sha256: str = ""
    lineage: dict[str, str] | None = None


class _File(msgspec.Struct, frozen=True):
    file: str = ""
    sha256: str = ""
    certain: bool = True


class _Model(msgspec.Struct, frozen=True):
    bundle: str
    artefact: _File = _File()
    lineage: dict[str, str] | None = None


class _Told(msgspec.Struct, frozen=True):
    """The answer of GET /v1/decisions/ID of an agent; `bundle` stands in the rows of GET /v1/decisions."""

    id: int
    captured_at: float
    verdict: str
    station: str = ""
    camera: str = ""
    part: str = ""
    cause: str = ""
    label: str = ""
    confidence: float = 0.0
    bundle: str | None = None
    model: _Model | None = None


class _Load(msgspec.Struct, frozen=True):
    artefact: str
    at: float


class _Loads(msgspec.Struct, frozen=True):
    """A file of a station's folder manifests: which artefact of a bundle was loaded when (agent.api.provenance)."""

    loads: tuple[_Load, ...]


def told_by(file: str) -> Decision:
    """Return the decision in a saved answer of an agent's GET /v1/decisions/ID; "-" is the standard input.

    Raises:
        NotFound: the file cannot be read.
        BadMessage: it is no such answer.
    """
    try:
        content = sys.stdin.buffer.read(_MAX_BYTES) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}", hint="check the path") from error
    try:
        told = msgspec.json.decode(content, type=_Told)
    except (msgspec.DecodeError, RecursionError) as error:
        hint = "save what the agent answers to GET /v1/decisions/ID"
        raise BadMessage(f"{file} is no decision of a station: {error}", hint=hint) from error
    model = told.model
    ran = model.artefact if model and model.artefact.certain else _File()
    return Decision(
        id=str(told.id),
        station=told.station,
        camera=told.camera,
        part=told.part,
        captured_at=told.captured_at,
        verdict=told.verdict,
        cause=told.cause,
        label=told.label,
        confidence=told.confidence,
        bundle=model.bundle if model else told.bundle or "",
        artefact=ran.file,
        artefact_sha256=ran.sha256,
        lineage=model.lineage if model else None,
    )


def of_station_database(file: Path, row_id: str, station: str) -> Decision:
    """Return a decision from a station's database, which is opened for reading only.

    Raises:
        InvalidConfig: the id is no whole number, or the file is no such database.
        NotFound: there is no such file, or no such decision is kept in it.
    """
    if not (row_id.isascii() and row_id.isdecimal() and len(row_id) <= 18):
        raise InvalidConfig(f"'{row_id[:80]}' is no id of a station's decision", hint="it is a whole number")
    if not file.is_file():
        raise NotFound(f"no file '{file}'", hint="the station's database is agent.sqlite in its home")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM results WHERE id = ?", (int(row_id),)).fetchone()
    except sqlite3.Error as error:
        raise InvalidConfig(f"{file} is no database of a station: {error}") from error
    if found is None:
        raise NotFound(f"{file} keeps no decision {row_id}", hint="old ones are forgotten")
    row: dict[str, Any] = dict(found)
    return Decision(
        id=row_id,
        station=station,
        camera=row.get("camera", ""),
        part=row["part"],
        captured_at=row["captured_at"],
        verdict=row["verdict"],
        cause=row["cause"],
        label=row["label"],
        confidence=row["confidence"],
        bundle=row["bundle"],
        artefact=_loaded(file.parent / "manifests", row["bundle"] or "", row["captured_at"]),
    )


def _loaded(folder: Path, bundle: str, at: float) -> str:
    """Return the artefact of a bundle that a station had loaded last by then, "" where its notes do not say."""
    if not is_digest(bundle):
        return ""
    try:
        loads = msgspec.json.decode((folder / f"{bundle}.json").read_bytes(), type=_Loads).loads
    except (OSError, msgspec.DecodeError, RecursionError):
        return ""
    return next((load.artefact for load in reversed(loads) if load.at <= at), "")
