"""Writes the golden files anew. Run by a person who means to change what is on the wire, and says so in CHANGELOG.md:

    .venv/bin/python -m tests.golden.write --write

A field that version 1 gains, with its default, is a reason; a field renamed, retyped or gone is a new version, in v2/.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.golden.examples import Example, examples, from_newer_writer, from_older_writer

FOLDER = Path(__file__).resolve().parent / "v1"
_HEX_LINE = 64


def path_of(name: str, example: Example, writer: str = "") -> Path:
    """Return where the golden bytes of `name` lie, as written by this version ("") or a "newer" or "older" one."""
    return FOLDER / writer / (f"{name}.msgpack.hex" if example.packed else f"{name}.json")


def read(path: Path) -> bytes:
    """Return the bytes a golden file stands for."""
    text = path.read_text("utf-8")
    return bytes.fromhex(text) if path.suffix == ".hex" else text.removesuffix("\n").encode()


def write() -> list[Path]:
    """Write every golden file; return their paths."""
    written = []
    for name, example in examples().items():
        plain = msgspec.msgpack.encode if example.packed else msgspec.json.encode
        for writer, payload in (
            ("", example.encode(example.message)),
            ("newer", plain(from_newer_writer(example.message))),
            ("older", plain(from_older_writer(example.message))),
        ):
            written.append(_write(path_of(name, example, writer), payload, example.packed))
    return written


def _write(path: Path, payload: bytes, packed: bool) -> Path:
    text: Any = payload.hex() if packed else payload.decode()
    if packed:
        text = "\n".join(text[start : start + _HEX_LINE] for start in range(0, len(text), _HEX_LINE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", "utf-8")
    return path


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(
            f"usage: {sys.argv[0]} --write   (replaces what every deployed station is promised; see the docstring)"
        )
    print("\n".join(str(path) for path in write()))
