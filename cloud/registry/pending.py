"""What waits for signatures, in a folder beside the repository that is not served: requests, and releases not listed yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloud.registry.catalog import ReleasedVersion, check_version
from cloud.registry.durable_file import write_durably
from cloud.registry.signing_request import SigningRequest, decode_request, encode_request
from contract.errors import BadBundle


@dataclass(frozen=True, slots=True)
class Pending:
    """The folder `folder`: at most one request a role, and releases/VERSION.json."""

    folder: Path

    def load(self, role: str) -> SigningRequest | None:
        """Return the request of a role; None where nothing waits.

        Raises:
            BadBundle: its file is damaged.
        """
        # Two of them when a newer one was written and its writer killed before it removed the older: the newer counts.
        found = sorted(self._files(role), key=lambda path: int(path.name.split(".")[0]))
        if not found:
            return None
        try:
            return decode_request(found[-1].read_bytes())
        except BadBundle as error:
            raise BadBundle(
                f"'{found[-1]}': {error.message}", hint="restore it, or plumbline-cloud keys pending --drop"
            ) from error

    def save(self, request: SigningRequest) -> Path:
        """Keep a request in the place of the role's last one; return its file."""
        path = self.path(request)
        write_durably(path, (encode_request(request),))
        for old in self._files(request.role):
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def path(self, request: SigningRequest) -> Path:
        """Return where a request is kept."""
        return self.folder / request.file_name

    def clear(self, role: str) -> None:
        """Forget the role's request."""
        for path in self._files(role):
            path.unlink(missing_ok=True)

    def add_release(self, released: ReleasedVersion) -> None:
        """Keep a release that is to be listed once its bundle is vouched for."""
        write_durably(self._release(released.version), (msgspec.json.encode(released),))

    def releases(self) -> list[ReleasedVersion]:
        """Return the releases that wait, oldest first.

        Raises:
            BadBundle: a file is damaged.
        """
        found = []
        for path in sorted((self.folder / "releases").glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=ReleasedVersion))
            except (msgspec.DecodeError, ValueError) as error:
                raise BadBundle(f"'{path}' is damaged: {error}", hint="remove it and release again") from error
        return sorted(found, key=lambda each: (each.created_at, each.version))

    def find_release(self, version: str) -> ReleasedVersion | None:
        """Return the release of that version that waits; None where none does."""
        return next((each for each in self.releases() if each.version == version), None)

    def drop_release(self, version: str) -> None:
        """Forget a release that waited."""
        self._release(version).unlink(missing_ok=True)

    def _release(self, version: str) -> Path:
        return self.folder / "releases" / f"{check_version(version)}.json"

    def _files(self, role: str) -> list[Path]:
        # A name of another kind is somebody's copy, and none of ours.
        found = self.folder.glob(f"*.{role}.request.json")
        return [path for path in found if path.name.split(".")[0].isdigit()]
