"""From what is to come next to what clients find: signed with the keys that are here, published or kept waiting for the others.

One process at a time: whoever changes the repository holds its `lock`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cloud.registry.delta_files import drop_unlisted_deltas
from cloud.registry.durable_file import write_durably
from cloud.registry.keys import Keys
from cloud.registry.pending import Pending
from cloud.registry.signing_request import SigningRequest, check_request, is_complete, sign_request
from cloud.registry.tuf_files import TIMESTAMP_FILE, Published, read_published, read_roots
from cloud.registry.tuf_next import beside_root
from cloud.registry.tuf_write import publication


class Publishing:
    """Signs and publishes for the repository whose files lie in `metadata` and `targets`."""

    def __init__(self, metadata: Path, targets: Path, keys: Keys, pending: Pending) -> None:
        self._metadata, self._targets, self._keys, self._pending = metadata, targets, keys, pending

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from changing the repository."""
        self._metadata.mkdir(parents=True, exist_ok=True)
        self._targets.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._metadata.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> Published:
        """Return what clients are given now, nothing before the first publication.

        Raises:
            BadBundle: a file is damaged.
        """
        if (self._metadata / TIMESTAMP_FILE).exists():
            return read_published(self._metadata)
        return Published(read_roots(self._metadata))

    def waiting(self, published: Published) -> dict[str, SigningRequest]:
        """Return what waits and was not published by somebody who was killed before saying so, by role, root first."""
        found: dict[str, SigningRequest] = {}
        root, targets = self._pending.load("root"), self._pending.load("targets")
        if root is not None and root.version > published.version("root"):
            found["root"] = replace(root, roots=published.roots, current=published.targets)
        if targets is not None and targets.version > published.version("targets"):
            found["targets"] = beside_root(targets, published, found.get("root"))
        return found

    def publish(self, published: Published, group: list[SigningRequest], now: float) -> bool:
        """Sign what belongs together with the keys that are here; publish it when that is enough, else keep it; return which.

        Raises:
            NotFound: an online key is missing.
        """
        signed = {each.role: sign_request(each, self._keys)[0] for each in group}
        if not all(is_complete(each) for each in signed.values()):
            # Targets first: a root that changes their keys never waits without them.
            for role in ("targets", "root"):
                if role in signed:
                    self._pending.save(signed[role])
            return False
        for each in signed.values():
            check_request(each)
        root, targets = signed.get("root"), signed.get("targets")
        for name, content in publication(self._metadata, published, self._keys, now, root=root, targets=targets):
            write_durably(self._metadata / name, (content,))
        for role in signed:
            self._pending.clear(role)
        if targets is not None:
            # Files last, when nothing that clients have lists them. What waited for signatures was these targets.
            drop_unlisted_deltas(self._targets, targets.metadata.signed.targets)
        return True

    def publish_targets(
        self, published: Published, waiting: dict[str, SigningRequest], request: SigningRequest, now: float
    ) -> bool:
        """As `publish`, of targets: where their keys change they go, or wait, with the root that changes them."""
        group = [waiting["root"], request] if request.next_root is not None else [request]
        return self.publish(published, group, now)
