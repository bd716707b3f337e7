"""Unpacks the boards in `recorded/`: `path = content` a line, with `\n` and `\0` written out; `#` begins a line of sources."""

from __future__ import annotations

from pathlib import Path

from agent.health.kernel_files import KernelFiles

FOLDER = Path(__file__).with_name("recorded")
BOARDS = sorted(path.stem for path in FOLDER.glob("*.txt"))


def unpack(board: str, root: Path) -> KernelFiles:
    """Write the files of `board` below `root`, as the kernel would show them."""
    for line in (FOLDER / f"{board}.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        path, _, content = line.partition(" = ")
        write(root, path, content)
    return KernelFiles(root)


def write(root: Path, path: str, content: object) -> None:
    """Write one file below `root`, ending in a line's end unless it is the device tree's."""
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    text = str(content).replace("\\n", "\n").replace("\\0", "\0")
    place.write_text(text if "device-tree" in path else f"{text}\n")
