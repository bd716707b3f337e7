"""The TUF repository: which bundles the release keys vouch for (DESIGN 6, the image side).

    FOLDER/metadata/   1.root.json, 2.root.json ..., N.targets.json, N.snapshot.json, timestamp.json
    FOLDER/targets/    bundles/DIGEST.plb

Both folders are served as they are. Metadata versions are never overwritten (consistent snapshots); `cloud.registry.tuf_write`
says in which order files are written. Bundles are named by their hash, which gives targets the same property without the hash
prefix, so clients take them at their plain path.

Root and targets may need keys that are elsewhere. Whatever lacks signatures waits in `pending` and changes nothing for
clients until it is published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Root, TargetFile  # type: ignore[attr-defined]

from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import open_bundle
from cloud.registry.durable_file import write_durably
from cloud.registry.keys import OFFLINE_ROLES, TUF_ROLES, Keys, RoleKeys
from cloud.registry.pending import Pending
from cloud.registry.signing_request import SigningRequest, is_complete, merge_signatures
from cloud.registry.signing_words import how_to_sign, lacking_words
from cloud.registry.tuf_files import place_file, read_published, read_roots
from cloud.registry.tuf_next import first_root, is_of, lists, lists_any, next_root, next_targets
from cloud.registry.tuf_publishing import Publishing
from cloud.registry.tuf_write import resigned
from contract.errors import NotFound, RefusedError
from contract.ids import bundle_target
from contract.order_keys_target import order_keys_target

_NOTHING: Mapping[str, Path] = {}


class TufRepository:
    """The repository in `folder`, signed with `keys`. Several processes may use it: writes are serialised by a lock file."""

    def __init__(self, folder: Path, keys: Keys, pending: Pending) -> None:
        self._metadata, self._targets, self._keys = folder / "metadata", folder / "targets", keys
        self._pending = pending
        self._publishing = Publishing(self._metadata, self._targets, keys, pending)

    def create(self, now: float) -> bytes:
        """Make the first metadata when there is none; return the newest root, which every station pins.

        Args:
            now: Unix seconds.
        Raises:
            RefusedError: signatures by keys that are not here are missing; what waits for them is pending.
            NotFound: a key is missing of which nothing is known.
        """
        with self._publishing.lock():
            published = self._publishing.read()
            if not published.roots or published.timestamp is None:
                waiting = self._publishing.waiting(published)
                root, targets = waiting.get("root"), waiting.get("targets")
                if not published.roots and root is None:
                    made = first_root({role: self._keys.role_keys(role) for role in TUF_ROLES}, now)
                    root, targets = SigningRequest("root", made), None
                targets = targets or next_targets(published, None, now, new_root=root)
                if not self._publishing.publish(published, [each for each in (root, targets) if each], now):
                    raise self.waits()
        return self.root()

    def publish(
        self,
        archive: Path,
        custom: Mapping[str, Any],
        now: float,
        *,
        deltas: Mapping[str, Path] = _NOTHING,
        keep_deltas_to: AbstractSet[str] | None = None,
    ) -> bool:
        """Vouch for the bundle at `archive`; one that is listed already is listed once.

        Args:
            custom: facts about it that a client may use before it fetches the bundle; JSON.
            deltas: to it, by target path.
            keep_deltas_to: the bundles besides it to which deltas stay listed; None keeps all.
            now: Unix seconds.
        Returns: whether clients find it now; else it waits for signatures.
        Raises:
            BadBundle: it is no whole bundle.
            NotFound: the file, the repository or an online key is missing.
        """
        _, digest = open_bundle(archive)
        target = bundle_target(digest)
        with self._publishing.lock():
            place = self._targets / target
            place_file(archive, place, digest)
            published = read_published(self._metadata)
            waiting = self._publishing.waiting(published)
            request = waiting.get("targets")
            stays = request is None or target in request.metadata.signed.targets
            if published.targets is not None and target in published.targets.signed.targets and stays:
                return True
            if request is None or not stays:
                added = [TargetFile(place.stat().st_size, {"sha256": digest}, target, {"custom": dict(custom)})]
                for name, file in deltas.items():
                    hashed = sha256_of(file)
                    place_file(file, self._targets / name, hashed)
                    added.append(TargetFile(file.stat().st_size, {"sha256": hashed}, name))
                keep = None if keep_deltas_to is None else keep_deltas_to | {digest}
                new_root = waiting.get("root")
                request = next_targets(published, request, now, added=added, keep_deltas_to=keep, new_root=new_root)
            return self._publishing.publish_targets(published, waiting, request, now)

    def withdraw(self, digests: AbstractSet[str], now: float) -> bool:
        """Vouch for these bundles no more, nor for deltas from or to them. Their files stay; see `is_listed`.

        Args:
            now: Unix seconds.
        Returns: whether clients find none of them now; else it waits for signatures.
        Raises:
            NotFound: the repository or an online key is missing.
        """
        with self._publishing.lock():
            published = read_published(self._metadata)
            waiting = self._publishing.waiting(published)
            request = waiting.get("targets")
            if not lists_any(digests, published.targets, request):
                return True
            if request is None or lists_any(digests, request.metadata):
                request = next_targets(published, request, now, removed=digests, new_root=waiting.get("root"))
            return self._publishing.publish_targets(published, waiting, request, now)

    def is_listed(self, digest: str) -> bool:
        """Return whether clients find a bundle, or will once what waits has its signatures."""
        published = self._publishing.read()
        return lists_any({digest}, published.targets, self._publishing.waiting(published).get("targets"))

    def target_file(self, digest: str) -> Path:
        """Return where the file of a bundle lies that clients fetch."""
        return self._targets / bundle_target(digest)

    def deltas_of(self, digest: str) -> list[Path]:
        """Return the files of the deltas from and to a bundle."""
        return [file for file in (self._targets / "deltas").glob("*") if is_of(f"deltas/{file.name}", {digest})]

    def publish_order_keys(self, version: int, envelope: bytes, now: float) -> bool:
        """Vouch for `envelope`, signed OrderKeys of `version`, which stations follow only then; what was listed is replaced.

        Args:
            now: Unix seconds.
        Returns: whether clients find it now; else it waits for signatures.
        Raises:
            NotFound: the repository or an online key is missing.
        """
        target, digest = order_keys_target(version), hashlib.sha256(envelope).hexdigest()
        with self._publishing.lock():
            published = read_published(self._metadata)
            write_durably(self._targets / target, (envelope,))
            if lists(published.targets, target, digest):
                return True
            waiting = self._publishing.waiting(published)
            request, new_root = waiting.get("targets"), waiting.get("root")
            if request is None or not lists(request.metadata, target, digest):
                added = [TargetFile(len(envelope), {"sha256": digest}, target)]
                request = next_targets(published, request, now, added=added, new_root=new_root)
            return self._publishing.publish_targets(published, waiting, request, now)

    def refresh_online(self, now: float) -> bool:
        """Sign snapshot and timestamp anew when half their lifetime is over; return whether it did. Run it every hour.

        Raises:
            NotFound: the repository or a key is missing.
            StorageFull: a file cannot be written.
        """
        with self._publishing.lock():
            writes = resigned(self._metadata, read_published(self._metadata), self._keys, now)
            for name, content in writes:
                write_durably(self._metadata / name, (content,))
            return bool(writes)

    def change_root(
        self,
        changes: Mapping[str, RoleKeys],
        now: float,
        *,
        lost_keys: bool = False,
        restart_versions: bool = False,
    ) -> bool:
        """Make the next root, in which `changes` (role -> its keys) hold; without any, it only lives longer.

        Returns: whether it is published; else it waits for signatures.
        Raises:
            RefusedError: a root waits already: two of the same version must never both get signatures.
            NotFound: the repository or an online key is missing.
        """
        with self._publishing.lock():
            published = self._publishing.read()
            if published.root is None:
                raise NotFound("there is no repository yet", hint="plumbline-cloud init, or keys publish")
            self.check_no_root_waits()
            waiting = self._publishing.waiting(published)
            root = SigningRequest(
                "root",
                next_root(published.root, changes, now),
                published.roots,
                current=published.targets,
                lost_keys=lost_keys,
                restart_versions=restart_versions,
            )
            if "targets" not in changes:
                return self._publishing.publish(published, [root], now)
            targets = next_targets(published, waiting.get("targets"), now, new_root=root)
            return self._publishing.publish(published, [root, targets], now)

    def check_no_root_waits(self) -> None:
        """Check that the next root may be made.

        Raises:
            RefusedError: one waits for signatures already.
        """
        if (waiting := self._publishing.waiting(self._publishing.read()).get("root")) is not None:
            raise RefusedError(
                f"root {waiting.version} waits for signatures already",
                hint="plumbline-cloud keys publish it first, or give it up with keys pending --drop",
            )

    def renew_targets(self, now: float) -> bool:
        """Make the next targets, which list the same and live longer; return whether they are published, or wait."""
        with self._publishing.lock():
            published = read_published(self._metadata)
            waiting = self._publishing.waiting(published)
            request = next_targets(published, waiting.get("targets"), now, new_root=waiting.get("root"))
            return self._publishing.publish_targets(published, waiting, request, now)

    def pending(self) -> list[SigningRequest]:
        """Return what waits for signatures, root first, as it stands beside what is in force now.

        Raises:
            BadBundle: a file is damaged.
        """
        return list(self._publishing.waiting(self._publishing.read()).values())

    def publish_pending(self, copies: Iterable[SigningRequest], now: float) -> list[SigningRequest]:
        """Publish what waits, with the signatures it has, those of `copies` that came back, and those of keys that are here.

        Good signatures are kept even where they are not enough yet. Repeating it is harmless.

        Returns: what was published; the rest goes on waiting (`waits`).
        Raises:
            RefusedError: nothing could be; the message says whose signatures are missing.
            BadBundle: a copy is of something else.
            NotFound: an online key is missing.
        """
        with self._publishing.lock():
            published = self._publishing.read()
            waiting = self._publishing.waiting(published)
            for copy in copies:
                if copy.role in waiting:
                    waiting[copy.role] = merge_signatures(waiting[copy.role], copy)
                elif copy.version > published.version(copy.role):
                    raise NotFound(f"no {copy.role} waits for signatures here", hint="plumbline-cloud keys pending")
            together = "targets" not in waiting or waiting["targets"].next_root is not None
            groups = [list(waiting.values())] if together else [[each] for each in waiting.values()]
            done = []
            for group in filter(None, groups):
                if self._publishing.publish(published, group, now):
                    done += group
                    published = self._publishing.read()
            if waiting and not done:
                raise self.waits()
            return done

    def drop_pending(self) -> None:
        """Give up what waits for signatures. What clients have does not change."""
        with self._publishing.lock():
            for role in OFFLINE_ROLES:
                self._pending.clear(role)

    def waits(self) -> RefusedError:
        """Return the error that says what waits for whose signatures, and how to go on."""
        waiting = self.pending()
        return RefusedError(
            " and ".join(lacking_words(each) for each in waiting if not is_complete(each)) or "nothing waits",
            hint=how_to_sign([self._pending.path(each) for each in waiting if not is_complete(each)]),
        )

    def roots(self) -> tuple[Root, ...]:
        """Return every root in force so far, oldest first."""
        return tuple(each.signed for each in read_roots(self._metadata))

    def root(self) -> bytes:
        """Return the newest root, which every new station pins: keys that older roots listed may have been stolen since.

        Raises:
            NotFound: the repository was never created.
        """
        roots = read_roots(self._metadata)
        if not roots:
            raise NotFound(f"no TUF repository at '{self._metadata.parent}'", hint="release a bundle first")
        return (self._metadata / f"{len(roots)}.root.json").read_bytes()

    def digests(self) -> tuple[str, ...]:
        """Return the bundles that are vouched for, sorted."""
        return read_published(self._metadata).digests()

    def expires_at(self) -> dict[str, float]:
        """Return when the metadata of each role expires, Unix seconds.

        Raises:
            NotFound: nothing was ever published.
            BadBundle: a file is damaged.
        """
        return read_published(self._metadata).expires_at()
