"""Wheels without a network: what is installed here, packed again, and plumbline-edge built from this checkout.

A wheel made so holds the files that pip unpacked, so installing it is as real as installing the original; its hash is another,
which is why `lock_of` writes a lock of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
_SOURCES = (
    "agent",
    "contract",
    "cloud",
    "firmware_config",
    "docs",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)


def build_plumbline(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`, from a copy; return it."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree)
    subprocess.run(
        (sys.executable, "-c", "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])", str(folder)),
        cwd=tree,
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)
    (wheel,) = folder.glob("plumbline_edge-*.whl")
    return wheel


def variant(wheel: Path, folder: Path, version: str, changes: dict[str, str] | None = None) -> Path:
    """Return a copy of plumbline's `wheel` as another version, whose files in `changes` have that text put at their end."""
    old = wheel.name.split("-")[1]
    made = folder / wheel.name.replace(f"-{old}-", f"-{version}-", 1)
    made.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".dist-info/METADATA"):
                data = data.replace(f"\nVersion: {old}\n".encode(), f"\nVersion: {version}\n".encode())
            if name.endswith(".dist-info/RECORD"):
                data = data.replace(f"-{old}.dist-info".encode(), f"-{version}.dist-info".encode())
            data += (changes or {}).get(name, "").encode()
            copy.writestr(name.replace(f"-{old}.dist-info/", f"-{version}.dist-info/", 1), data)
    return made


def pack_installed(extras: tuple[str, ...], folder: Path) -> list[Path]:
    """Pack everything that `plumbline-edge[extras]` needs, as it is installed here, into wheels in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_pack(name, folder) for name in sorted(_needed(extras))]


def lock_of(wheels: list[Path], file: Path) -> Path:
    """Write a lock with the hashes of `wheels`; return `file`."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    file.write_text("".join(lines))
    return file


def _needed(extras: tuple[str, ...]) -> set[str]:
    waiting = [Requirement(f"plumbline-edge[{','.join(extras)}]")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in metadata.requires(name) or []:
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    waiting.append(inner)
    return {name for name, _ in seen} - {"plumbline-edge", "pip"}


def _pack(name: str, folder: Path) -> Path:
    found = metadata.distribution(name)
    text = found.read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ") for line in text.splitlines() if line.startswith("Tag: ")]
    # Several tags of one wheel differ in one part only, e.g. py2 and py3, or two manylinux names of one thing.
    parts = [".".join(dict.fromkeys(column)) for column in zip(*(tag.split("-") for tag in tags), strict=True)]
    stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}"
    wheel = folder / f"{stem}-{'-'.join(parts)}.whl"
    files = [file for file in found.files or [] if ".." not in file.parts and file.suffix != ".pyc"]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            path = Path(str(found.locate_file(file)))
            if path.is_file() and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD"):
                archive.write(path, str(file))
        (info,) = {file.parts[0] for file in files if file.parts[0].endswith(".dist-info")}
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files if file.suffix != ".pyc"))
    return wheel
