"""Does a TUF repository vouch for a bundle? Asked of metadata in a folder, under a root that the asker holds, as a station would.

All of the client's workflow is python-tuf's own (TUF specification 5.3 to 5.6); only the fetching is from a folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, RepositoryError

# python-tuf exports these without __all__, which mypy --strict does not follow.
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig  # type: ignore[attr-defined]

from contract.errors import BadBundle, NotFound
from contract.ids import bundle_target

_BASE = "folder:///"


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who vouches for a bundle: versions of the metadata that say so, and the version name it was released as ("" when unsaid)."""

    root_version: int
    targets_version: int
    snapshot_version: int
    timestamp_version: int
    released_as: str


def vouched_for(digest: str, size_bytes: int, root: Path, metadata: Path, now: float) -> Vouched:
    """Return who vouches for a bundle at the time `now`, Unix seconds.

    Args:
        digest, size_bytes: the archive's.
        root: the pinned root; later roots in `metadata` are followed from it.
        metadata: a folder with the repository's N.root.json, timestamp.json and so on.
    Raises:
        NotFound: a file is missing.
        BadBundle: nobody does: the metadata is not signed under `root`, is expired, or does not list the bundle.
    """
    pinned = _read(root, "root")
    if not (metadata / "timestamp.json").is_file():
        raise NotFound(f"no TUF metadata in '{metadata}'", hint="give the folder that holds timestamp.json")
    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as scratch:
        try:
            fetcher = _FolderFetcher(metadata)
            updater = Updater(scratch, _BASE, fetcher=fetcher, config=UpdaterConfig(), bootstrap=pinned)
            updater._trusted_set.reference_time = datetime.fromtimestamp(now, tz=timezone.utc)
            updater.refresh()
            target = updater.get_targetinfo(bundle_target(digest))
        except ExpiredMetadataError as error:
            raise BadBundle(f"'{metadata}' is expired: {error}", hint="let the server sign it again") from error
        except DownloadHTTPError as error:
            raise NotFound(f"'{metadata}' lacks a file of the repository: {error}", hint="copy all of it") from error
        except (RepositoryError, ValueError) as error:
            raise BadBundle(
                f"'{metadata}' is not signed under '{root}': {error}", hint="check that both are of one repository"
            ) from error
        if target is None:
            raise BadBundle(f"bundle {digest[:12]} is not among those vouched for", hint="release it, or a newer copy")
        if (target.hashes.get("sha256"), target.length) != (digest, size_bytes):
            raise BadBundle(f"bundle {digest[:12]} is vouched for with another hash or size", hint="release it again")
        versions = updater._trusted_set
        return Vouched(
            versions.root.version,
            versions.targets.version,
            versions.snapshot.version,
            versions.timestamp.version,
            str(target.custom.get("version", "")) if target.custom else "",
        )


class _FolderFetcher(FetcherInterface):
    """Answers the updater's requests from a folder; what is not there is answered as a server would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = Path(unquote(urlsplit(url).path)).name
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            raise DownloadHTTPError(f"no '{name}'", 404) from error
        yield data


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"no {what} '{path}': {error.strerror or error}", hint="check the path") from error
