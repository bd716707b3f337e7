"""The wheel and the source archive, the same bytes from the same commit wherever they are built."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

from scripts.releases.dependency_walk import ROOT

_NO_CHECKOUT_EPOCH = 1_700_000_000


def commit_epoch(root: Path = ROOT) -> int:
    """Return when the commit was made that is built, in seconds since 1970; a fixed time where there is no git."""
    done = subprocess.run(
        ("git", "-C", str(root), "log", "-1", "--format=%ct"), capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else _NO_CHECKOUT_EPOCH


def uncommitted(root: Path = ROOT) -> list[str]:
    """Return the tracked files that differ from the commit: they go into what is built, which then follows from no commit."""
    done = subprocess.run(
        ("git", "-C", str(root), "diff", "--name-only", "-z", "HEAD"), capture_output=True, text=True, check=False
    )
    return sorted(filter(None, done.stdout.split("\0"))) if done.returncode == 0 else []


def copy_of_the_checkout(folder: Path, epoch: int, root: Path = ROOT) -> None:
    """Write what git tracks into `folder`, with times and modes that no machine's habits change.

    Raises:
        subprocess.CalledProcessError: `root` is no git checkout.
    """
    listed = subprocess.run(("git", "-C", str(root), "ls-files", "-z"), capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, target = root / name, folder / name
        if not source.exists():
            continue  # removed and not yet committed
        target.parent.mkdir(parents=True, exist_ok=True)
        # A link's content: nothing in an archive may lead out of it.
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
        os.utime(target, (epoch, epoch))
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def build(out: Path, work: Path, epoch: int, root: Path = ROOT) -> tuple[Path, Path]:
    """Build both into `out` and return the wheel's path and the source archive's.

    Args:
        work: a folder that does not exist yet, for the copy that is built.
    Raises:
        subprocess.CalledProcessError: setuptools failed.
    """
    copy_of_the_checkout(work, epoch, root)
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("plumbline_edge-*.tar.gz"), *out.glob("plumbline_edge-*.whl")):
        old.unlink()
    # Hashing is seeded: setuptools iterates over sets.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    code = (
        "import os, sys; from setuptools import build_meta as b; os.umask(0o022); getattr(b, sys.argv[1])(sys.argv[2])"
    )
    for what in (
        "build_sdist",
        "build_wheel",
    ):  # each in a process of its own: the second would otherwise leave nothing
        command = (sys.executable, "-c", code, what, str(out.resolve()))
        subprocess.run(command, cwd=work, env=environment, capture_output=True, check=True)
    (archive,), (wheel,) = out.glob("plumbline_edge-*.tar.gz"), out.glob("plumbline_edge-*.whl")
    _settle(archive, epoch)
    return wheel, archive


def _settle(archive: Path, epoch: int) -> None:
    """Write a source archive again without what setuptools takes from the machine: times, owners, the order of files."""
    plain = BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with archive.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed:
        packed.write(plain.getvalue())
