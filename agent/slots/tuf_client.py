"""The image side of an update: python-tuf's client with our fetchers, and durable floors around it (OTA-1, OTA-2).

What a station can tell when it is served an old repository:
- One copy of the floors survives: any version below it is refused, whatever became of the cache.
- No copy survives, the cached timestamp and snapshot do: python-tuf refuses what is older than those.
- Both are gone: what is left are the pinned root (nothing that it does not lead to is accepted), expiry (judged by a time no
  earlier than this release and, once the committed order's floors are raised again, than that order), and the order: an old
  repository only confirms that a bundle was released once, and installs nothing without a fresh order for it.
  A root that was rotated away, and an unexpired older state, cannot be told from the newest then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.exceptions import RepositoryError

# python-tuf exports these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Key, Metadata, Role, Root, TargetFile, Targets  # type: ignore[attr-defined]
from tuf.ngclient import Updater, UpdaterConfig  # type: ignore[attr-defined]

from agent.slots.tuf_cache import TufCache
from agent.slots.tuf_errors import as_ours, moment
from agent.slots.tuf_fetcher import CappedFetcher, FetchLimits, HttpFetcher, KitFetcher
from agent.update.floors import Floors, RepositoryVersions, name_keys, raise_repository, raise_root
from agent.update.trusted_target import TrustedTarget
from contract.errors import BadBundle, InvalidConfig, NotFound
from contract.ids import bundle_target, is_digest

if TYPE_CHECKING:
    import httpx

    from agent.ports.update import FloorStore


class TufClient:
    """Looks files up in the TUF repository at `base_url`, trusting only what descends from the pinned `root`.

    `folder` is a cache and nothing more; nothing is written outside it. A refresh whose outcome is refused leaves it as it
    was. With `floors` they are consulted before the cache changes, and a newer root raises them even when the rest of the
    refresh fails; the caller raises the others with the versions that a look-up returns. Used by one thread.

    Args:
        client: brings TLS, proxies and timeouts; or a fetcher of its own.
    Raises:
        InvalidConfig: the pinned root is no root; found now, and not on the day of the first update.
    """

    def __init__(
        self,
        client: httpx.Client | CappedFetcher,
        base_url: str,
        folder: Path,
        root: bytes,
        *,
        floors: FloorStore | None = None,
        limits: FetchLimits = FetchLimits(),  # noqa: B008  frozen
    ) -> None:
        try:
            pinned = Metadata[Root].from_bytes(root)
            if not isinstance(pinned.signed, Root):  # the type parameter is not checked
                raise ValueError(f"it is the repository's {pinned.signed.type}")
            pinned.signed.verify_delegate(Root.type, pinned.signed_bytes, pinned.signatures)
            _check_keys(pinned.signed)
        except (RepositoryError, ValueError, BadBundle) as error:
            raise InvalidConfig(
                f"[trust] root is no TUF root: {error}", hint="pin the cloud's root.json again"
            ) from error
        self._fetcher = client if isinstance(client, CappedFetcher) else HttpFetcher(client, limits)
        self._base_url, self._floors = base_url.rstrip("/"), floors
        self._root, self._pinned = root, pinned.signed.version
        self._where = f"the image repository at '{base_url}'"
        self._folder, self._cache = folder, TufCache(folder, max_bytes=limits.max_bytes)

    @classmethod
    def for_folder(
        cls,
        folder: Path,
        cache: Path,
        root: bytes,
        *,
        floors: FloorStore | None = None,
        limits: FetchLimits = FetchLimits(),  # noqa: B008  frozen
    ) -> TufClient:
        """Return a client of the repository that lies in `folder`, such as a kit's, with `metadata/` in it.

        Raises:
            InvalidConfig: the pinned root is no root.
        """
        return cls(KitFetcher(folder, limits), str(folder), cache, root, floors=floors, limits=limits)

    def look_up(self, digest: str, now: float) -> tuple[int, RepositoryVersions]:
        """Return (size in bytes, versions seen) of the bundle archive with SHA-256 `digest`, after a refresh.

        Raises: as `look_up_bundle`.
        """
        target, versions = self.look_up_bundle(digest, now)
        return target.size_bytes, versions

    def look_up_bundle(self, digest: str, now: float) -> tuple[TrustedTarget, RepositoryVersions]:
        """Return the bundle archive with SHA-256 `digest`, and the versions seen, after a refresh.

        Args:
            now: what expiry is judged by, Unix seconds.
        Raises:
            LinkDown: the repository was not reached.
            TransientError: its metadata is expired by `now`, which may be wrong.
            BadBundle: its metadata does not hold: signatures, versions or hashes; or it went backwards.
            NotFound: it does not list that bundle, or there is no repository.
            StorageFull: the cache cannot be written.
        """
        target, versions = self.look_up_target(bundle_target(digest), now)
        if target.digest != digest:
            raise BadBundle(f"the image repository lists '{target.name}' with another hash")
        return target, versions

    def look_up_target(self, name: str, now: float) -> tuple[TrustedTarget, RepositoryVersions]:
        """Return the file that the repository lists as `name`, and the versions seen, after a refresh.

        Raises: as `look_up_bundle`.
        """
        found, versions = self.look_up_targets((name,), now)
        if name not in found:
            raise NotFound(f"the image repository lists no '{name}'", hint="release the bundle before ordering it")
        return found[name], versions

    def look_up_targets(
        self, names: Iterable[str], now: float
    ) -> tuple[Mapping[str, TrustedTarget], RepositoryVersions]:
        """Return those of the files `names` that the repository lists, and the versions seen, all after one refresh.

        Raises: as `look_up_bundle`, but a file that is not listed is left out.
        """
        floors = self._floors.read() if self._floors is not None else None
        known = floors or Floors()
        try:
            with as_ours(self._where, self._folder, now, floors.time if floors is not None else None):
                updater, whole = self._updater(now), False
                try:
                    updater.refresh()
                    infos = [info for name in names if (info := updater.get_targetinfo(name)) is not None]
                    _check_delegations(updater)
                    whole = True
                finally:
                    self._keep(updater, known, whole)
            seen = _versions(updater, known)
            raise_repository(known, seen)
        finally:
            self._cache.forget()
        return {info.path: _trusted(info) for info in infos}, seen

    def _keep(self, updater: Updater, floors: Floors, whole: bool) -> None:
        """Let the cache have what was verified, but of a repository that went backwards only newer roots."""
        root = updater._trusted_set.root.version
        for version in range(self._pinned + 1, root + 1):
            _check_keys(Metadata[Root].from_bytes(self._cache.staged_root(version)).signed)
        seen = _versions(updater, floors)
        if self._floors is not None and root > floors.root:
            self._floors.write(raise_root(floors, root, seen.online_keys))
        try:
            raise_repository(floors, seen)
        except BadBundle:
            self._cache.promote_roots()
        else:
            if whole:
                self._cache.promote()
            else:
                self._cache.promote_newer()

    def _updater(self, now: float) -> Updater:
        updater = Updater(
            str(self._cache.stage()),
            f"{self._base_url}/metadata/",
            fetcher=self._fetcher,
            config=UpdaterConfig(),
            bootstrap=self._root,
        )
        # The library reads the machine's clock, which may stand at 1970; expiry is judged by the time passed in (OTA-1).
        updater._trusted_set.reference_time = moment(now)
        return updater


def _trusted(info: TargetFile) -> TrustedTarget:
    digest, custom = info.hashes.get("sha256", ""), info.custom
    if not is_digest(digest):
        raise BadBundle(f"the image repository lists '{info.path}' without a SHA-256")
    if custom is not None and not isinstance(custom, dict):
        raise BadBundle(f"the image repository says of '{info.path}' what is no JSON object")
    return TrustedTarget(info.path, digest, info.length, custom or {})


def _check_delegations(updater: Updater) -> None:
    for signed in updater._trusted_set:
        if isinstance(signed, Targets) and signed.delegations is not None:
            roles: dict[str, Role] = dict(signed.delegations.roles or {})
            if signed.delegations.succinct_roles is not None:
                roles["bins"] = signed.delegations.succinct_roles
            _check_distinct(signed.delegations.keys, roles)


def _check_keys(root: Root) -> None:
    _check_distinct(root.keys, root.roles)


def _check_distinct(keys: Mapping[str, Key], roles: Mapping[str, Role]) -> None:
    # Key ids are names that the signer chose: python-tuf would count one key under two of them twice (specification 4.2).
    for name, role in roles.items():
        listed = [keys[keyid] for keyid in role.keyids if keyid in keys]
        distinct = {(key.keytype, str(key.keyval.get("public", "")).strip().lower()) for key in listed}
        if len(distinct) < len(listed):
            raise BadBundle(
                f"the image repository lists one key of '{name}' under two ids", hint="list each key of a role once"
            )


def _versions(updater: Updater, floors: Floors) -> RepositoryVersions:
    """Return the versions that `updater` verified; where a failed refresh did not come to one, the floor's."""
    trusted = updater._trusted_set
    roles = trusted.root.roles
    timestamp = trusted.timestamp if "timestamp" in trusted else None
    targets = trusted.snapshot.meta.get("targets.json") if "snapshot" in trusted else None
    return RepositoryVersions(
        trusted.root.version,
        timestamp.version if timestamp else floors.timestamp,
        timestamp.snapshot_meta.version if timestamp else floors.snapshot,
        targets.version if targets else floors.targets,
        " ".join(name_keys(role, roles[role].threshold, roles[role].keyids) for role in ("snapshot", "timestamp")),
        timestamp.expires.timestamp() if timestamp else 0.0,
    )
