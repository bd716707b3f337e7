"""What waits for signatures: new root or targets metadata, with what a holder of a key needs to judge it far from the server.

A request is one JSON file. It is carried to each holder's machine, gets signatures there, and comes back. It holds the chain
of roots and the targets that are in force, so that its changes can be shown there, checked against the root that the holder
remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from tuf.api.exceptions import RepositoryError

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, Role, Root, Targets  # type: ignore[attr-defined]

from cloud.registry.keys import NAME_FIELD, Keys
from contract.errors import BadBundle

MAX_REQUEST_BYTES = 64 << 20
_FIELDS = ("roots", "next_root", "current")


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """New metadata of a role, "root" or "targets", and the signatures it has so far.

    `roots` are all that are in force, oldest first; none before the first one. `next_root` is the one that targets are to be
    published with, None where that is the newest of `roots`. `current` are the targets in force. With `lost_keys` the old keys
    of what is rotated are gone and need not sign. With `restart_versions` the online versions begin anew (TUF 5.3.11).
    """

    role: str
    metadata: Metadata[Any]
    roots: tuple[Metadata[Root], ...] = ()
    next_root: Metadata[Root] | None = None
    current: Metadata[Targets] | None = None
    lost_keys: bool = False
    restart_versions: bool = False

    @property
    def version(self) -> int:
        """The version of the new metadata."""
        return int(self.metadata.signed.version)

    @property
    def file_name(self) -> str:
        """The name of the request's file."""
        return f"{self.version}.{self.role}.request.json"


@dataclass(frozen=True, slots=True)
class Need:
    """How far one root's demand on the signatures is met: names of keys that signed, and of those that have not."""

    whose: str
    threshold: int
    signed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether enough signed."""
        return len(self.signed) >= self.threshold

    def in_words(self) -> str:
        """Return how many signed of how many, and who still can."""
        have = f"{len(self.signed)} of {self.threshold} signatures by the keys of {self.whose}"
        signed = f" ({', '.join(self.signed)})" if self.signed else ""
        return have + signed + ("" if self.holds else f"; can sign: {', '.join(self.missing)}")


class _Wire(msgspec.Struct, frozen=True):
    role: str
    metadata: dict[str, Any]
    roots: tuple[dict[str, Any], ...] = ()
    next_root: dict[str, Any] | None = None
    current: dict[str, Any] | None = None
    lost_keys: bool = False
    restart_versions: bool = False
    v: int = 1


def encode_request(request: SigningRequest) -> bytes:
    """Return a request as the content of its file."""
    wire = _Wire(
        role=request.role,
        metadata=request.metadata.to_dict(),
        roots=tuple(each.to_dict() for each in request.roots),
        next_root=request.next_root.to_dict() if request.next_root else None,
        current=request.current.to_dict() if request.current else None,
        lost_keys=request.lost_keys,
        restart_versions=request.restart_versions,
    )
    return msgspec.json.format(msgspec.json.encode(wire), indent=1) + b"\n"


def decode_request(data: bytes) -> SigningRequest:
    """Return the request in a file. Its signatures and its chain are not looked at yet (`check_request`).

    Raises:
        BadBundle: it is none.
    """
    try:
        if len(data) > MAX_REQUEST_BYTES:
            raise ValueError(f"{len(data)} bytes")
        wire = msgspec.json.decode(data, type=_Wire)
        request = SigningRequest(
            role=wire.role,
            metadata=Metadata.from_dict(wire.metadata),
            roots=tuple(Metadata.from_dict(each) for each in wire.roots),
            next_root=Metadata.from_dict(wire.next_root) if wire.next_root is not None else None,
            current=Metadata.from_dict(wire.current) if wire.current is not None else None,
            lost_keys=wire.lost_keys,
            restart_versions=wire.restart_versions,
        )
        if wire.v != 1:
            raise ValueError(f"version {wire.v}: update this program")
        if (wire.role, request.metadata.signed.type) not in (("root", "root"), ("targets", "targets")):
            raise ValueError(f"role '{wire.role[:20]}' with metadata of type '{request.metadata.signed.type}'")
        others = [*request.roots, *filter(None, (request.next_root,))]
        if any(not isinstance(each.signed, Root) for each in others):
            raise ValueError("a root that is none")
        if request.current is not None and not isinstance(request.current.signed, Targets):
            raise ValueError("targets that are none")
    except (RepositoryError, msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundle(
            f"no signing request: {error}", hint="take the file that plumbline-cloud keys pending names"
        ) from error
    except RecursionError as error:
        raise BadBundle("no signing request: nested without end") from error
    return request


def judges(request: SigningRequest) -> list[tuple[str, Root]]:
    """Return whose keys must sign: (words, root). A new root answers to the one before and to itself (TUF 5.3.4, 6.1).

    Targets that come with a new root answer to both too: then they hold whichever of the two a station has, and a server
    that is killed between writing one and the other has nothing to mend.
    """
    before = request.roots[-1].signed if request.roots else None
    coming = request.metadata if request.role == Root.type else request.next_root
    after: Root | None = coming.signed if coming is not None else None
    found: list[tuple[str, Root]] = []
    if before is not None and not (request.role == Targets.type and request.lost_keys and after is not None):
        found.append((f"root {before.version}", before))
    if after is not None and (not found or not same_role(found[0][1], after, request.role)):
        found.append((f"root {after.version}", after))
    return found


def needs(request: SigningRequest) -> list[Need]:
    """Return how far each demand is met. Only signatures that verify count, and each key once."""
    payload, signatures = request.metadata.signed_bytes, request.metadata.signatures
    found = []
    for whose, root in judges(request):
        result = root.get_verification_result(request.role, payload, signatures)
        found.append(
            Need(
                whose,
                result.threshold,
                tuple(sorted(key_name(root, keyid) for keyid in result.signed)),
                tuple(sorted(key_name(root, keyid) for keyid in result.unsigned)),
            )
        )
    return found


def is_complete(request: SigningRequest) -> bool:
    """Return whether every demand is met."""
    return all(need.holds for need in needs(request))


def sign_request(request: SigningRequest, keys: Keys) -> tuple[SigningRequest, tuple[str, ...]]:
    """Return the request with the signatures that `keys` can add, and the names of those keys."""
    wanted = {keyid for _, root in judges(request) for keyid in root.roles[request.role].keyids}
    signed = Metadata(request.metadata.signed, dict(request.metadata.signatures))
    done = []
    for key in keys.listed(wanted):
        signed.sign(key.signer, append=True)
        done.append(key.name)
    return replace(request, metadata=signed), tuple(done)


def merge_signatures(request: SigningRequest, copy: SigningRequest) -> SigningRequest:
    """Return the request with the good signatures of a copy of it that was elsewhere.

    Raises:
        BadBundle: it is a copy of something else.
    """
    payload = request.metadata.signed_bytes
    if copy.role != request.role or copy.metadata.signed_bytes != payload:
        raise BadBundle(
            f"{copy.role} {copy.version} is not what waits for signatures here",
            hint="it was changed or staged again since; sign the file that plumbline-cloud keys pending names",
        )
    merged = dict(request.metadata.signatures)
    for _, root in judges(request):
        for keyid in root.get_verification_result(request.role, payload, copy.metadata.signatures).signed:
            merged[keyid] = copy.metadata.signatures[keyid]
    return replace(request, metadata=Metadata(request.metadata.signed, merged))


def check_request(request: SigningRequest) -> None:
    """Check that a request follows from the roots it carries: nothing is signed that stations would refuse.

    Raises:
        BadBundle: the chain of roots is broken, a version does not follow, or the targets in force are not vouched for.
    """
    try:
        check_chain(request.roots)
        newest = request.roots[-1].signed if request.roots else None
        coming = request.metadata if request.role == Root.type else request.next_root
        if coming is not None and coming.signed.version != (newest.version if newest else 0) + 1:
            raise ValueError(f"root {coming.signed.version} does not follow root {newest.version if newest else 0}")
        if coming is not None and not coming.signed.consistent_snapshot:
            raise ValueError(f"root {coming.signed.version} gives up consistent snapshots")
        if coming is not None:
            _check_no_key_twice(coming.signed)
        if request.current is not None:
            if newest is None:
                raise ValueError("targets in force without a root")
            newest.verify_delegate(Targets.type, request.current.signed_bytes, request.current.signatures)
            if request.role == Targets.type and request.version <= request.current.signed.version:
                raise ValueError(f"targets {request.version} do not follow {request.current.signed.version}")
        if request.role == Targets.type and request.metadata.signed.delegations is not None:
            raise ValueError("targets that let other keys vouch for bundles")
        if not judges(request):
            raise ValueError("no root says who signs it")
    except (RepositoryError, ValueError) as error:
        raise BadBundle(
            f"the request for {request.role} {request.version} does not hold: {error}",
            hint="do not sign it; find out who changed it",
        ) from error


def check_chain(roots: tuple[Metadata[Root], ...]) -> None:
    """Check that each root is signed by the one before and by itself (TUF 5.3.4).

    Raises:
        RepositoryError, ValueError: one is not.
    """
    for index, each in enumerate(roots):
        each.signed.verify_delegate(Root.type, each.signed_bytes, each.signatures)
        if index:
            before = roots[index - 1].signed
            if each.signed.version != before.version + 1:
                raise ValueError(f"root {each.signed.version} after root {before.version}")
            before.verify_delegate(Root.type, each.signed_bytes, each.signatures)


def key_name(root: Root, keyid: str) -> str:
    """Return what people call a key that `root` lists: its file's name where that is known, and its id."""
    fields: Mapping[str, Any] = root.keys[keyid].unrecognized_fields if keyid in root.keys else {}
    name = fields.get(NAME_FIELD)
    return f"{name} {keyid[:8]}" if isinstance(name, str) and name else keyid[:8]


def _check_no_key_twice(root: Root) -> None:
    """A key under two ids would count as two signatures."""
    for role, listed in root.roles.items():
        public = [str(root.keys[keyid].keyval.get("public")) for keyid in listed.keyids]
        if len(set(public)) != len(public):
            raise ValueError(f"root {root.version} lists a key of its {role} role under two ids")


def same_role(one: Root, other: Root, role: str) -> bool:
    """Return whether the same keys in the same number sign for `role`."""
    first: Role = one.roles[role]
    second: Role = other.roles[role]
    return first.threshold == second.threshold and set(first.keyids) == set(second.keyids)
