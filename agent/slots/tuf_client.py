"""The image side of an update: python-tuf's client over httpx, with durable floors around it (OTA-1, OTA-2)."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import httpx
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError

# python-tuf exports these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig  # type: ignore[attr-defined]

from agent.update.floors import RepositoryVersions
from contract.errors import BadBundle, InvalidConfig, LinkDown, NotFound, StorageFull
from contract.ids import bundle_target


def _no_root(error: Exception) -> InvalidConfig:
    return InvalidConfig(f"[trust] root is no TUF root: {error}", hint="pin the cloud's root.json again")


class TufClient:
    """Looks bundles up in the TUF repository at `base_url`, trusting only what descends from the pinned `root`.

    `folder` is a cache and nothing more: python-tuf does not fsync it, so what must never go backwards is in the floors.

    Raises:
        InvalidConfig: the pinned root is no root; found now, and not on the day of the first update.
    """

    def __init__(self, client: httpx.Client, base_url: str, folder: Path, root: bytes) -> None:
        try:
            pinned = Metadata[Root].from_bytes(root)
            if not isinstance(pinned.signed, Root):  # the type parameter is not checked
                raise ValueError(f"it is the repository's {pinned.signed.type}")
            pinned.signed.verify_delegate(Root.type, pinned.signed_bytes, pinned.signatures)
        except (RepositoryError, ValueError) as error:
            raise _no_root(error) from error
        self._fetcher, self._base_url, self._folder, self._root = _HttpxFetcher(client), base_url, folder, root

    def look_up(self, digest: str, now: float) -> tuple[int, RepositoryVersions]:
        """Return (size in bytes, versions seen) of the bundle archive with SHA-256 `digest`, after a refresh.

        Args:
            now: what expiry is judged by, Unix seconds.
        Raises:
            LinkDown: the repository was not reached.
            BadBundle: its metadata does not hold: signatures, expiry, versions or hashes.
            NotFound: it does not list that bundle.
            InvalidConfig: the pinned root is no root.
        """
        target = bundle_target(digest)
        try:
            updater = self._updater(now)
            updater.refresh()
            info = updater.get_targetinfo(target)
        except DownloadHTTPError as error:
            if error.status_code in (403, 404):
                raise NotFound(f"no image repository at '{self._base_url}': {error}", hint="check the URL") from error
            raise LinkDown(f"the image repository at '{self._base_url}' answered {error.status_code}") from error
        except DownloadError as error:
            raise LinkDown(f"the image repository at '{self._base_url}' was not reached: {error}") from error
        except RepositoryError as error:
            raise BadBundle(
                f"the image repository at '{self._base_url}' does not hold: {error}",
                hint="its metadata must be signed by the pinned root and not be expired",
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                # A damaged cache must not stop updates for good; what may not go backwards is in the floors (OTA-2).
                shutil.rmtree(self._folder, ignore_errors=True)
            raise StorageFull(
                f"'{self._folder}' cannot be written: {error.strerror or error}", hint="free space, check the mount"
            ) from error
        if info is None:
            raise NotFound(f"the image repository lists no '{target}'", hint="release the bundle before ordering it")
        if info.hashes.get("sha256") != digest:
            raise BadBundle(f"the image repository lists '{target}' with another hash")
        return info.length, _versions(updater)

    def _updater(self, now: float) -> Updater:
        # python-tuf links root.json into its cache and removes the old link first: both must be possible.
        self._folder.mkdir(parents=True, exist_ok=True)
        metadata_url = f"{self._base_url.rstrip('/')}/metadata/"
        try:
            updater = Updater(
                str(self._folder), metadata_url, fetcher=self._fetcher, config=UpdaterConfig(), bootstrap=self._root
            )
        except RepositoryError as error:
            raise _no_root(error) from error
        # The library reads the machine's clock, which may stand at 1970; expiry is judged by the time passed in (OTA-1).
        updater._trusted_set.reference_time = datetime.fromtimestamp(now, tz=timezone.utc)
        return updater


class _HttpxFetcher(FetcherInterface):
    """Metadata over the station's own httpx client, so one place configures TLS, proxies and timeouts."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator's errors escape FetcherInterface.fetch, so they are made DownloadErrors here.
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise DownloadHTTPError(f"'{url}' answered {response.status_code}", response.status_code)
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise DownloadError(f"{error or type(error).__name__}") from error


def _versions(updater: Updater) -> RepositoryVersions:
    trusted = updater._trusted_set
    roles = trusted.root.roles
    online = sorted({keyid for role in ("snapshot", "timestamp") for keyid in roles[role].keyids})
    return RepositoryVersions(
        trusted.root.version,
        trusted.timestamp.version,
        trusted.snapshot.version,
        trusted.targets.version,
        " ".join(online),
    )
