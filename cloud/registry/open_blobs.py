"""Which blob store a cloud.toml means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cloud.ports.blobs import BlobStore
from cloud.registry.blob_cache import BlobCache
from cloud.registry.blobs import Blobs
from cloud.registry.object_store import open_store
from cloud.registry.remote_blobs import RemoteBlobs

CACHE_BYTES = 8 << 30


def open_blobs(
    registry: Path, now: Callable[[], float], url: str = "", endpoint_url: str = "", *, cache_bytes: int = CACHE_BYTES
) -> BlobStore:
    """Return the blobs of the registry in the folder `registry`: in its blobs/, or at `url` with blob-cache/ as the cache.

    Raises:
        InvalidConfig: as `open_store`.
    """
    if not url:
        return Blobs(registry / "blobs")
    return RemoteBlobs(open_store(url, endpoint_url), BlobCache(registry / "blob-cache", cache_bytes, now))
