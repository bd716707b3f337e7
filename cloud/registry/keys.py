"""The signing keys: four TUF roles for images, one role for orders. Ed25519, one file each, mode 0600.

A role's first key is ROLE.pem where it is the only one, else ROLE-1.pem, ROLE-2.pem and so on; a number is never used again.
The keys may be spread over folders: root and targets on sticks that lie in a safe, the others on the server. Which of them
count is not said by their names but by the newest root (TUF) and by order_keys.json (orders).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# securesystemslib exports these without __all__, which mypy --strict does not follow.
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from cloud.registry.durable_file import write_durably
from contract.errors import InvalidConfig, NotFound
from contract.signature import OrderKey

TUF_ROLES = ("root", "targets", "snapshot", "timestamp")
OFFLINE_ROLES = ("root", "targets")
ORDER = "order"
ORDER_KEY_FILE = "order_key.json"
ORDER_RECORD_FILE = "order_keys.json"
PLAN_FILE = "roles.json"
# Travels with the public key, so that whoever misses a key can say which file it is in.
NAME_FIELD = "x-plumbline-name"
_KEY_FILE = re.compile(r"(root|targets|snapshot|timestamp|order)(?:-([1-9][0-9]{0,5}))?\.pem")
_MAX_KEYS = 32

R = TypeVar("R")


class RoleKeys(msgspec.Struct, frozen=True):
    """Which keys may sign for a role (key id -> its name and raw public key in hex), and how many of them must."""

    threshold: int
    names: dict[str, str]
    public: dict[str, str]

    def tuf_keys(self) -> list[SSlibKey]:
        """Return the public keys as TUF metadata lists them."""
        return [
            SSlibKey(keyid, "ed25519", "ed25519", {"public": public}, {NAME_FIELD: self.names.get(keyid, "")})
            for keyid, public in self.public.items()
        ]


class OrderRecord(msgspec.Struct, frozen=True):
    """order_keys.json: which order key signs now, and the signed statement that tells stations so (`cloud.registry.order_keys`).

    `past` are the ids of keys that no longer count.
    """

    version: int
    current: str
    keys: dict[str, str]
    envelope: str
    past: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A private key that is here. `name` is its file's, without the ending."""

    name: str
    role: str
    folder: Path
    signer: CryptoSigner = field(repr=False)

    @property
    def keyid(self) -> str:
        """The key's id: a hash of its public half."""
        return str(self.signer.public_key.keyid)

    @property
    def public(self) -> str:
        """The raw public key in hex."""
        return str(self.signer.public_key.keyval["public"])

    @property
    def number(self) -> int:
        """The number in its name; 1 where there is none."""
        return int(self.name.rpartition("-")[2]) if "-" in self.name else 1


@dataclass(frozen=True, slots=True)
class Keys:
    """The private keys that `folders` hold, the first of which is the one that new keys go into.

    An online server needs snapshot, timestamp and order; the others may be offline.
    """

    folders: tuple[Path, ...]
    held: tuple[HeldKey, ...]
    order: OrderRecord | None = None
    plan: Mapping[str, RoleKeys] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The first folder."""
        return self.folders[0]

    def of(self, role: str) -> tuple[HeldKey, ...]:
        """Return the keys of a role that are here, by number; whether they still count is not asked."""
        return tuple(sorted((key for key in self.held if key.role == role), key=lambda key: key.number))

    def listed(self, keyids: Collection[str]) -> tuple[HeldKey, ...]:
        """Return the keys that are here out of `keyids`."""
        return tuple(key for key in self.held if key.keyid in keyids)

    def signer(self, role: str) -> CryptoSigner:
        """Return the signer of a role; of "order" the one that signs now.

        Raises:
            NotFound: that key is not here.
        """
        found = self.of(role)
        if role == ORDER and self.order is not None:
            found = self.listed((self.order.current,))
        if not found:
            where = ", ".join(f"'{folder}'" for folder in self.folders)
            which = f" {self.order.current[:12]}" if role == ORDER and self.order else ""
            raise NotFound(
                f"the {role} key{which} is not in {where}",
                hint=f"bring its .pem file there if this machine may sign as {role}; plumbline-cloud keys init makes new ones",
            )
        return found[0].signer

    def order_key(self) -> OrderKey:
        """Return the public order key that signs now."""
        public = self.signer(ORDER).public_key
        return OrderKey(public.keyid, public.keyval["public"])

    def order_keys(self) -> tuple[OrderKey, ...]:
        """Return every public order key that counts, the one that signs now first: what a new station pins."""
        first = self.order_key()
        others = self.order.keys if self.order else {}
        return (first, *(OrderKey(keyid, public) for keyid, public in others.items() if keyid != first.keyid))

    def role_keys(self, role: str) -> RoleKeys:
        """Return who signs for a TUF role in the first root: as `keys init` planned it, else the one key that is here.

        Raises:
            NotFound: nothing is known of such a key.
        """
        if role in self.plan:
            return self.plan[role]
        self.signer(role)
        return as_role(self.of(role)[:1], 1)


def as_role(keys: Sequence[HeldKey], threshold: int) -> RoleKeys:
    """Return the public halves of `keys` as a role's."""
    return RoleKeys(threshold, {key.keyid: key.name for key in keys}, {key.keyid: key.public for key in keys})


def init_keys(
    folder: Path, *, counts: Mapping[str, tuple[int, int]] | None = None, offline: Sequence[Path] = ()
) -> Keys:
    """Make every key and return them.

    Args:
        folder: where they go.
        counts: role -> (keys, how many of them must sign); 1 and 1 where a role is not named.
        offline: folders for root and targets keys instead, in turn: one a key makes one key a holder.
    Raises:
        InvalidConfig: keys are there already, which are never overwritten; or so many keys cannot be.
    """
    sizes = {role: (counts or {}).get(role, (1, 1)) for role in (*TUF_ROLES, ORDER)}
    for role, (count, threshold) in sizes.items():
        check_count(role, count, threshold)
    for place in (folder, *offline):
        present = [path.stem for path in sorted(place.glob("*.pem")) if _KEY_FILE.fullmatch(path.name)]
        if present:
            raise InvalidConfig(
                f"'{place}' already holds the {present[0]} key",
                hint="stations trust it and would trust nothing else; choose another folder",
            )
    held: list[HeldKey] = []
    for role, (count, _) in sizes.items():
        for number in range(1, count + 1):
            places = offline if role in OFFLINE_ROLES and offline else (folder,)
            name = role if count == 1 else f"{role}-{number}"
            held.append(_make(places[(number - 1) % len(places)], role, name))
    plan = {role: as_role([key for key in held if key.role == role], sizes[role][1]) for role in TUF_ROLES}
    for place in (folder, *offline):
        _private_folder(place)
        write_durably(place / PLAN_FILE, (msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n",))
    keys = Keys((folder, *offline), tuple(held), None, plan)
    write_durably(folder / ORDER_KEY_FILE, (msgspec.json.encode(keys.order_key()) + b"\n",))
    return keys


def check_count(role: str, count: int, threshold: int) -> None:
    """Check that `threshold` of `count` keys can sign for a role.

    Raises:
        InvalidConfig: they cannot.
    """
    if role not in OFFLINE_ROLES and (count, threshold) != (1, 1):
        raise InvalidConfig(f"the {role} role has one key", hint="it is online: more keys on one server add nothing")
    if not 1 <= threshold <= count <= _MAX_KEYS:
        raise InvalidConfig(
            f"{threshold} of {count} {role} keys cannot sign", hint=f"use 1 <= threshold <= keys <= {_MAX_KEYS}"
        )


def new_keys(keys: Keys, role: str, count: int, used: Collection[str], out: Path | None = None) -> list[HeldKey]:
    """Make `count` keys of a role for a rotation, in `out` (default: the first folder).

    Keys that a rotation made which never came to anything are taken first, so that repeating one makes no more.

    Args:
        used: ids of every key that counts or ever counted.
    """
    idle = [key for key in keys.of(role) if key.keyid not in used and (out is None or key.folder == out)]
    made = idle[:count]
    number = max((key.number for key in keys.of(role)), default=1)
    while len(made) < count:
        number += 1
        if not ((out or keys.folder) / f"{role}-{number}.pem").exists():
            made.append(_make(out or keys.folder, role, f"{role}-{number}"))
    return made


def load_keys(folder: Path, *more: Path) -> Keys:
    """Return the keys that are in `folder` and in `more` folders.

    Raises:
        NotFound: none is.
        InvalidConfig: a key file is damaged.
    """
    held: dict[str, HeldKey] = {}
    folders = (folder, *more)
    for place in folders:
        for path in sorted(place.glob("*.pem")):
            if (found := _KEY_FILE.fullmatch(path.name)) is not None:
                key = HeldKey(path.stem, found[1], place, _load(path))
                held.setdefault(key.keyid, key)
    if not held:
        where = ", ".join(f"'{place}'" for place in folders)
        raise NotFound(f"no keys in {where}", hint=f"plumbline-cloud keys init --out {folder}")
    plan: dict[str, RoleKeys] = {}
    record: OrderRecord | None = None
    for place in folders:
        plan = plan or _read(place / PLAN_FILE, dict[str, RoleKeys]) or {}
        record = record or _read(place / ORDER_RECORD_FILE, OrderRecord)
    return Keys(folders, tuple(held.values()), record, plan)


def _make(folder: Path, role: str, name: str) -> HeldKey:
    _private_folder(folder)
    signer = CryptoSigner.generate_ed25519()
    write_durably(folder / f"{name}.pem", (signer.private_bytes,), mode=0o600)
    return HeldKey(name, role, folder, signer)


def _private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / ".gitignore").exists():
        # Whatever repository this folder lies in, git does not see the keys.
        write_durably(folder / ".gitignore", (b"*\n",))


def _load(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidConfig(f"'{path}' is no private key: {error}", hint="restore it from its backup") from error


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise InvalidConfig(f"'{path}' is damaged: {error}", hint="restore it from its backup") from error
