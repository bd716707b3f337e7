"""An object store through fsspec: S3, and whatever else has whole puts and a driver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from contract.errors import InvalidConfig

# A put here is whole or not at all. A folder (file://, sftp://) is written in place: a reader would see half a blob.
_WHOLE = ("s3", "gs", "az", "abfs")
_CONNECT_S, _READ_S = 5, 30


class Away(Exception):
    """The store did not answer, or said that it cannot now."""


class Absent(Exception):
    """The store has nothing under that key."""


class ObjectStore(Protocol):
    """What is asked of a store. A put is whole or not at all; a get sees the last put. Raises: Away, InvalidConfig."""

    @property
    def name(self) -> str:
        """Return the URL, for people."""

    def put(self, key: str, path: Path) -> None:
        """Store a file; return when it is durable."""

    def get(self, key: str, into: Path) -> None:
        """Write the bytes under a key to a file. Raises: Absent."""

    def size(self, key: str) -> int:
        """Return how many bytes lie under a key. Raises: Absent."""

    def delete(self, key: str) -> None:
        """Have nothing under a key any more; it may be so already."""


@dataclass(frozen=True, slots=True)
class FsspecStore:
    """Objects below `url`, by the fsspec file system `files`. Made by `open_store`."""

    url: str
    files: Any
    away: tuple[type[Exception], ...]

    @property
    def name(self) -> str:
        """Return the URL."""
        return self.url

    def put(self, key: str, path: Path) -> None:
        """As `ObjectStore.put`: one request, or one multipart upload; the driver sends a checksum that the store compares."""
        with self._told():
            try:
                self.files.put_file(str(path), f"{self.url}/{key}")
            except FileNotFoundError as error:
                raise self._no_bucket() from error

    def get(self, key: str, into: Path) -> None:
        """As `ObjectStore.get`."""
        with self._told():
            try:
                self.files.get_file(f"{self.url}/{key}", str(into))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error.__cause__):
                    raise self._no_bucket() from error
                raise Absent(key) from error

    def size(self, key: str) -> int:
        """As `ObjectStore.size`."""
        with self._told():
            try:
                return int(self.files.info(f"{self.url}/{key}")["size"])
            except FileNotFoundError as error:
                raise Absent(key) from error

    def delete(self, key: str) -> None:
        """As `ObjectStore.delete`."""
        with self._told(), suppress(FileNotFoundError):
            self.files.rm_file(f"{self.url}/{key}")

    def close(self) -> None:
        """Close its connections."""
        if (session := getattr(self.files, "_s3", None)) is not None:
            self.files.close_session(self.files.loop, session)

    def _no_bucket(self) -> InvalidConfig:
        return InvalidConfig(f"there is no bucket for '{self.url}'", hint="make it, or mend [blobs] url in cloud.toml")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            hint = "credentials come from the environment or ~/.aws; they must allow get, put and list there"
            raise InvalidConfig(f"'{self.url}' refuses this machine: {error}", hint=hint) from error
        except self.away as error:
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
                hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
                raise InvalidConfig(f"no credentials for '{self.url}': {error}", hint=hint) from error
            raise Away(str(error) or type(error).__name__) from error


def open_store(url: str, endpoint_url: str = "") -> FsspecStore:
    """Return the store at `url`; nothing is asked of it yet, so that a cloud starts while its store is away.

    Args:
        url: such as "s3://bucket/prefix".
        endpoint_url: of an S3 that is not Amazon's, such as "http://127.0.0.1:9000"; "" otherwise.
    Raises:
        InvalidConfig: the URL is none of an object store, or what reads it is not installed.
    """
    hint = "write [blobs] url as s3://BUCKET/PREFIX, or leave it out for a folder"
    try:
        parts, endpoint = urlsplit(url), urlsplit(endpoint_url)
        _ = parts.port, endpoint.port
    except ValueError as error:
        raise InvalidConfig(f"'{url[:200]}' or '{endpoint_url[:200]}' is no URL: {error}", hint=hint) from error
    if parts.scheme not in _WHOLE or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise InvalidConfig(f"'{url[:200]}' names no object store", hint=hint)
    if endpoint_url and (parts.scheme != "s3" or endpoint.scheme not in ("http", "https") or not endpoint.hostname):
        hint = "write [blobs] endpoint_url as https://HOST:PORT, beside an s3:// url"
        raise InvalidConfig(f"'{endpoint_url[:200]}' is no endpoint", hint=hint)
    try:
        import fsspec  # the extra [scale]

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if parts.scheme == "s3":
            waits = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": 1}}
            options |= {"endpoint_url": endpoint_url or None, "config_kwargs": waits}
        files = fsspec.filesystem(parts.scheme, **options)
    except ImportError as error:
        extra = "pip install 'plumbline-edge[scale]'" if parts.scheme == "s3" else "pip install the driver it names"
        raise InvalidConfig(f"'{url}' needs what is not installed: {error}", hint=extra) from error
    return FsspecStore(url.rstrip("/"), files, _away())


def _away() -> tuple[type[Exception], ...]:
    """Return what drivers raise where a later try may do better; the rest is a fault of this program."""
    known: list[type[Exception]] = [OSError, TimeoutError, asyncio.TimeoutError]
    try:
        from botocore.exceptions import BotoCoreError

        known.append(BotoCoreError)
    except ImportError:
        pass
    try:
        from aiohttp import ClientError

        known.append(ClientError)
    except ImportError:
        pass
    return tuple(known)
