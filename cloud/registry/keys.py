"""The signing keys: four TUF roles for images, one key for orders. Ed25519, one file each, mode 0600."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# securesystemslib exports these without __all__, which mypy --strict does not follow.
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from cloud.registry.durable_file import write_durably
from contract.errors import InvalidConfig, NotFound
from contract.signature import OrderKey

TUF_ROLES = ("root", "targets", "snapshot", "timestamp")
ORDER = "order"
ORDER_KEY_FILE = "order_key.json"


@dataclass(frozen=True, slots=True)
class Keys:
    """The private keys that `folder` holds. An online server needs snapshot, timestamp and order; the others may be offline."""

    folder: Path
    signers: Mapping[str, CryptoSigner] = field(repr=False)

    def signer(self, name: str) -> CryptoSigner:
        """Return the signer of a TUF role, or of "order".

        Raises:
            NotFound: that key is not here.
        """
        try:
            return self.signers[name]
        except KeyError:
            raise NotFound(
                f"the {name} key is not in '{self.folder}'",
                hint=f"bring {name}.pem there if this machine may sign as {name}; plumbline-cloud keys init makes new ones",
            ) from None

    def order_key(self) -> OrderKey:
        """Return the public order key, which every station pins."""
        public = self.signer(ORDER).public_key
        return OrderKey(public.keyid, public.keyval["public"])


def init_keys(folder: Path) -> Keys:
    """Make every key in `folder` and return them.

    Raises:
        InvalidConfig: keys are there already; they are never overwritten.
    """
    names = (*TUF_ROLES, ORDER)
    present = [name for name in names if (folder / f"{name}.pem").exists()]
    if present:
        raise InvalidConfig(
            f"'{folder}' already holds the {present[0]} key",
            hint="stations trust it and would trust nothing else; choose another folder",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Whatever repository this folder lies in, git does not see the keys.
    write_durably(folder / ".gitignore", (b"*\n",))
    signers = {name: CryptoSigner.generate_ed25519() for name in names}
    for name, signer in signers.items():
        write_durably(folder / f"{name}.pem", (signer.private_bytes,), mode=0o600)
    keys = Keys(folder, signers)
    write_durably(folder / ORDER_KEY_FILE, (msgspec.json.encode(keys.order_key()) + b"\n",))
    return keys


def load_keys(folder: Path) -> Keys:
    """Return the keys that are in `folder`.

    Raises:
        NotFound: none is.
        InvalidConfig: a key file is damaged.
    """
    signers = {}
    for name in (*TUF_ROLES, ORDER):
        path = folder / f"{name}.pem"
        try:
            private = load_pem_private_key(path.read_bytes(), None)
            signers[name] = CryptoSigner(private)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidConfig(f"'{path}' is no private key: {error}", hint="restore it from its backup") from error
    if not signers:
        raise NotFound(f"no keys in '{folder}'", hint=f"plumbline-cloud keys init --out {folder}")
    return Keys(folder, signers)
