"""The catalog: every released version, one small file each."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import msgspec

from cloud.registry.durable_file import write_durably
from contract.errors import BadBundle, InvalidConfig, NotFound
from contract.manifest import Lineage

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class ReleaseState(str, Enum):
    """Whether a version may be ordered: RELEASED yes, WITHDRAWN no more, STAGED not yet (it waits for signatures; never listed),
    PRUNED no more, and its archive and full-precision model are deleted, or about to be.
    """

    RELEASED = "released"
    WITHDRAWN = "withdrawn"
    STAGED = "staged"
    PRUNED = "pruned"


class ReleasedVersion(msgspec.Struct, frozen=True):
    """A version in the catalog.

    `digest` and `size_bytes` are the archive's; the others that name blobs do so by SHA-256, "" when there is none:
    `full_precision`, `gate_report` (gate.json), `report_page` (the gate's report for people), `manifest` and `model_card` (kept
    apart before the archive is deleted).
    """

    version: str
    name: str
    digest: str
    size_bytes: int
    created_at: float
    lineage: Lineage = Lineage()
    full_precision: str = ""
    gate_report: str = ""
    release_counter: int = 0
    simulated: bool = False
    state: ReleaseState = ReleaseState.RELEASED
    report_page: str = ""
    manifest: str = ""
    model_card: str = ""


def check_version(text: str) -> str:
    """Return `text` when it can name a version: letters, digits, '.', '_' and '-', at most 80.

    Raises:
        InvalidConfig: it cannot.
    """
    if _VERSION.fullmatch(text) is None:
        raise InvalidConfig(
            f"'{text[:120]}' is no version name", hint="use letters, digits, '.', '_' and '-', e.g. '1.4.0'"
        )
    return text


class Catalog:
    """Released versions in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_free(self, released: ReleasedVersion) -> bool:
        """Return whether the version name is new; False when this very bundle has it already.

        Raises:
            InvalidConfig: another bundle has that version name.
        """
        if not self._path(released.version).exists():
            return True
        known = self.get(released.version)
        if known.digest != released.digest:
            raise InvalidConfig(
                f"version '{released.version}' is another bundle ({known.digest[:12]})",
                hint="choose a new version name",
            )
        return False

    def add(self, released: ReleasedVersion) -> None:
        """Keep a new version; the same one again changes nothing.

        Raises:
            InvalidConfig: another bundle has that version name.
        """
        if self.check_free(released):
            write_durably(self._path(released.version), (_encode(released),))

    def set_state(self, version: str, state: ReleaseState) -> ReleasedVersion:
        """Change whether a version may be ordered; return it as it is now.

        Raises:
            NotFound: there is no such version.
        """
        return self.replace(msgspec.structs.replace(self.get(version), state=state))

    def replace(self, changed: ReleasedVersion) -> ReleasedVersion:
        """Keep what is known of a version in the place of what was; return it."""
        write_durably(self._path(changed.version), (_encode(changed),))
        return changed

    def get(self, version: str) -> ReleasedVersion:
        """Return a version.

        Raises:
            NotFound: there is no such version.
        """
        found = self.find(version)
        if found is None:
            known = ", ".join(each.version for each in self.all()[:5]) or "none yet"
            raise NotFound(f"no version '{version}'", hint=f"released: {known}")
        return found

    def find(self, version: str) -> ReleasedVersion | None:
        """Return a version; None when there is none of that name."""
        path = self._path(version)
        try:
            return msgspec.json.decode(path.read_bytes(), type=ReleasedVersion)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, ValueError) as error:
            raise BadBundle(f"'{path}' is damaged: {error}", hint="restore it from a backup") from error

    def by_digest(self, digest: str) -> ReleasedVersion | None:
        """Return the version whose archive has this SHA-256; None when none has."""
        return next((each for each in self.all() if each.digest == digest), None)

    def all(self) -> list[ReleasedVersion]:
        """Return every version, newest first."""
        if not self._folder.is_dir():
            return []
        found = (self.find(path.stem) for path in self._folder.glob("*.json") if not path.name.startswith("."))
        present = [each for each in found if each is not None]
        return sorted(present, key=lambda each: (each.created_at, each.version), reverse=True)

    def _path(self, version: str) -> Path:
        return self._folder / f"{check_version(version)}.json"


def _encode(released: ReleasedVersion) -> bytes:
    return msgspec.json.format(msgspec.json.encode(released), indent=2) + b"\n"
