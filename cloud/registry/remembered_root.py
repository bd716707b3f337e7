"""The root that a holder of keys saw last, kept beside the keys: a server that was broken into cannot show it another chain."""

from __future__ import annotations

from pathlib import Path

from tuf.api.exceptions import RepositoryError

# python-tuf exports these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]
from tuf.api.serialization.json import JSONSerializer

from cloud.registry.durable_file import write_durably
from cloud.registry.signing_request import SigningRequest
from contract.errors import BadBundle

ROOT_FILE = "known_root.json"


def check_remembered(folder: Path, request: SigningRequest) -> bool:
    """Return whether the request's chain of roots contains the one that `folder` remembers; False where it remembers none.

    Raises:
        BadBundle: it does not, or the file is damaged.
    """
    path = folder / ROOT_FILE
    try:
        known = Metadata[Root].from_bytes(path.read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, RepositoryError) as error:
        raise BadBundle(f"'{path}' is damaged: {error}", hint="restore it from its backup") from error
    if not any(each.signed_bytes == known.signed_bytes for each in request.roots):
        raise BadBundle(
            f"the request does not descend from root {known.signed.version}, which '{path}' remembers",
            hint="do not sign it: it is for another repository, or the server was broken into",
        )
    return True


def remember_root(folder: Path, request: SigningRequest) -> None:
    """Remember the newest root in force that the request carries; call it once a person has accepted the request.

    Raises:
        StorageFull: it cannot be written.
    """
    if request.roots:
        write_durably(folder / ROOT_FILE, (request.roots[-1].to_bytes(JSONSerializer()),))
