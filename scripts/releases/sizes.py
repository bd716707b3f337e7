"""What packages take on a disk once they are installed on a station."""

from __future__ import annotations

import sysconfig
from collections.abc import Collection
from importlib import metadata
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from firmware_config.provisioning.trim import UNUSED

MOST_AGENT_MB = 180.0


def installed_mb(names: Collection[str], wheel: Path | None = None) -> dict[str, float]:
    """Return the size of each package's files here in 10^6 bytes, largest first, without what a station is trimmed of.

    Args:
        wheel: of a package that is not in `names`, unpacked: our own, which is installed here as a checkout.
    """
    packages = Path(sysconfig.get_path("purelib"))
    trimmed = frozenset(path for pattern in UNUSED for path in packages.glob(pattern))
    sizes = {name: sum(_bytes(file, trimmed) for file in metadata.files(name) or ()) / 1e6 for name in names}
    if wheel is not None:
        own = wheel.name.split("-")[0].replace("_", "-")
        with ZipFile(wheel) as archive:
            kept = [each for each in archive.infolist() if PurePosixPath(each.filename).parts[0] not in UNUSED]
        sizes[own] = sum(each.file_size for each in kept) / 1e6
    return dict(sorted(sizes.items(), key=lambda each: (-each[1], each[0])))


def _bytes(file: metadata.PackagePath, trimmed: Collection[Path]) -> int:
    path = Path(str(file.locate()))
    # RECORD also names what a package removed again.
    if not path.is_file() or any(each in trimmed for each in (path, *path.parents)):
        return 0
    return path.stat().st_size
