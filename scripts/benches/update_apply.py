"""One way to the new bundle's archive, in a process of its own: `python -m scripts.benches.update_apply WAY BASE PATCH OUT`.

full: PATCH is the archive. delta: BASE is the old bundle, unpacked. zstd: BASE is the old archive. Prints seconds and memory.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from agent.slots.disk import Disk
from agent.slots.unpacked import open_folder
from scripts.benches.peak_memory import measured

_CHUNK = 64 << 10


def _full(_base: Path, patch: Path, out: Path) -> Callable[[], object]:
    """What a download does once it is there: nothing but read and write."""

    def work() -> None:
        with patch.open("rb") as source, out.open("wb") as target:
            while chunk := source.read(_CHUNK):
                target.write(chunk)

    return work


def _delta(base: Path, patch: Path, out: Path) -> Callable[[], object]:
    goal, size_bytes = out.stem, int(patch.with_suffix(".size").read_text())

    def work() -> None:
        from agent.slots.delta_install import build_archive

        build_archive(open_folder(base), patch, out, Disk(), goal=goal, size_bytes=size_bytes)

    return work


def _zstd(base: Path, patch: Path, out: Path) -> Callable[[], object]:
    def work() -> None:
        import zstandard

        prefix = zstandard.ZstdCompressionDict(base.read_bytes(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        machine = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=1 << 31)
        with patch.open("rb") as source, out.open("wb") as target:
            machine.copy_stream(source, target)

    return work


if __name__ == "__main__":
    way = {"full": _full, "delta": _delta, "zstd": _zstd}[sys.argv[1]]
    print(json.dumps(measured(way(*map(Path, sys.argv[2:5])))))
