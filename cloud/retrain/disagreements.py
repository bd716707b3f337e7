"""One image under different labels: whose word is it? Such images go back to review rather than into training."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cloud.retrain.run_folder import publish
from contract.errors import BadDataset

DISAGREEMENTS_FILE = "disagreements.jsonl"


class Opinion(msgspec.Struct, frozen=True, omit_defaults=True):
    """One word on an image. `labelled_at`: Unix seconds; `where`: the line or task that says so."""

    labels: tuple[str, ...]
    labeller: str = ""
    labelled_at: float | None = None
    where: str = ""


class Disagreement(msgspec.Struct, frozen=True):
    """An image on which two words differ. `folder` is absolute, `file` relative to it."""

    folder: str
    file: str
    sha256: str
    labels: tuple[Opinion, ...]

    def sentence(self) -> str:
        """Return who says what."""
        words = (
            f"{o.labeller or 'somebody'} ({o.where}) says {' and '.join(repr(name) for name in o.labels)}"
            for o in self.labels[:3]
        )
        return f"{self.file}: {', '.join(words)}"


def disagreement_warning(disagreements: Sequence[Disagreement]) -> str | None:
    """Return what to tell a person, None when all agree."""
    if not disagreements:
        return None
    shown = "; ".join(d.sentence() for d in disagreements[:3])
    hint = "; several defects of one image are one line, with label 'a;b'" if any(map(_in_lines, disagreements)) else ""
    return f"left out {len(disagreements)} images that are labelled differently: {shown}{hint}"


def _in_lines(disagreement: Disagreement) -> bool:
    """Return whether one person, or nobody by name, says different things of an image in several lines of a table."""
    whose = [opinion.labeller for opinion in disagreement.labels if " line " in opinion.where]
    return len(set(whose)) < len(whose)


def save_disagreements(file: Path, disagreements: Sequence[Disagreement]) -> None:
    """Write a line of JSON an image; remove the file when there is none."""
    if not disagreements:
        file.unlink(missing_ok=True)
        return
    temporary = file.with_suffix(f".{secrets.token_hex(4)}.tmp")
    temporary.write_bytes(b"".join(msgspec.json.encode(d) + b"\n" for d in disagreements))
    publish(temporary, file)


def read_disagreements(file: Path) -> tuple[Disagreement, ...]:
    """Return what `save_disagreements` wrote, () when there is no file.

    Raises:
        BadDataset: a line is damaged (its number is named).
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Disagreement))
        except msgspec.DecodeError as error:
            raise BadDataset(f"{file} line {number} is damaged: {error}", hint="make the dataset again") from error
    return tuple(found)
