"""The image files of a folder, and which of them have newly come to rest in it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.sources.image_file import IMAGE_SUFFIXES
from contract.errors import InvalidConfig

# A file that has kept its size and times this long is complete; an empty one gets longer, as its writer may still be at work.
SETTLE_S = 0.3
SETTLE_EMPTY_S = 5.0

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".swp", ".crdownload")


def check_folder(folder: Path) -> None:
    """Check that `folder` is a folder that can be listed.

    Raises:
        InvalidConfig: it is not.
    """
    if not folder.exists():
        raise InvalidConfig(f"the image folder {folder} does not exist", hint="create it, or correct the path")
    if not folder.is_dir():
        raise InvalidConfig(f"{folder} is a file, not a folder of images", hint="name the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InvalidConfig(f"the image folder {folder} may not be listed", hint="give this user read access to it")


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is offered as an image: a known suffix, not hidden, no temporary name."""
    lower = name.lower()
    if not lower.endswith(IMAGE_SUFFIXES) or name.startswith((".", "~")):
        return False
    return not lower.rpartition(".")[0].endswith(_TEMPORARY)


def list_images(folder: Path) -> list[Path]:
    """Return the image files below `folder`, sorted by path; hidden folders are left out, links to folders not followed."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(parent, name) for name in names if is_image_name(name))
    return sorted(found, key=lambda path: path.as_posix())


@dataclass(slots=True)
class _Seen:
    """A file as it last looked: `signature` is (size, modified ns, inode), unchanged since the monotonic time `since`."""

    signature: tuple[int, int, int]
    since: float
    taken: bool = False


class Arrivals:
    """Tells which files of a watched folder are new and complete; a file written again under its old name is new again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, _Seen] = {}

    def settled(self, now_monotonic: float) -> list[Path]:
        """Return the files that have come to rest since the last call, oldest first. Each is returned once."""
        files: dict[Path, _Seen] = {}
        ready: list[tuple[int, str, Path]] = []
        for path in list_images(self._folder):
            try:
                state = path.stat()
            except OSError:
                continue  # renamed or deleted since it was listed
            if not stat.S_ISREG(state.st_mode):
                continue
            signature = (state.st_size, state.st_mtime_ns, state.st_ino)
            seen = self._seen.get(path)
            if seen is None or seen.signature != signature:
                seen = _Seen(signature, now_monotonic)
            files[path] = seen
            rest_s = SETTLE_S if state.st_size else SETTLE_EMPTY_S
            if not seen.taken and now_monotonic - seen.since >= rest_s:
                seen.taken = True
                ready.append((state.st_mtime_ns, path.as_posix(), path))
        self._seen = files  # forgets deleted files, so that memory follows the folder and not its history
        return [path for _, _, path in sorted(ready)]
