"""A TUF repository that lies in memory and is signed with real keys, the server it is served by, and a station that asks it.

    repo.targets.version += 5; repo.publish("targets", "snapshot", "timestamp")

`publish` bumps, links and signs; `serve` signs without bumping. `repo.files` is what is served, by path, and may be changed at
will; `repo.answers` takes over whole requests.
"""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from urllib.parse import quote

import httpx
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from agent.slots.floors_file import FloorsFile
from agent.slots.tuf_client import TufClient
from agent.slots.tuf_fetcher import FetchLimits
from agent.update.floors import RepositoryVersions, effective_now, raise_repository

NOW = 1_795_200_000.0
DAY = 86400.0
ROLES = ("root", "targets", "snapshot", "timestamp")
DIGEST = "ab" * 32
BUNDLE = f"bundles/{DIGEST}.plb"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


@cache
def signer(number: int) -> CryptoSigner:
    """Return the test's key with this number, the same one whenever it is asked for."""
    return CryptoSigner.generate_ed25519()


class Repository:
    """Version 1 of every role, listing `BUNDLE`, each role with a key of its own; everything valid for a month."""

    def __init__(self) -> None:
        expires = at(NOW + 30 * DAY)
        self.root = Root(version=1, expires=expires, consistent_snapshot=True)
        self.targets, self.snapshot = Targets(version=1, expires=expires), Snapshot(version=1, expires=expires)
        self.timestamp = Timestamp(version=1, expires=expires)
        self.delegated: dict[str, Targets] = {}
        self.signers = {role: [signer(number)] for number, role in enumerate(ROLES)}
        self.hashes = False
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        for role in ROLES:
            self.root.add_key(self.signers[role][0].public_key, role)
        self.list_target(BUNDLE, DIGEST, 1000, {"manifest": "cd" * 32})
        for role in ROLES:
            self.serve(role)

    def list_target(self, name: str, digest: str, size: int = 1, custom: object = None) -> None:
        more = {} if custom is None else {"custom": custom}
        self.targets.targets[name] = TargetFile(size, {"sha256": digest}, name, more)

    def publish(self, *roles: str) -> None:
        """Bump the version of each of `roles`, sign it and link it from the role above, in the order given."""
        for role in roles:
            self.signed(role).version += 1
            self.serve(role)

    def everything(self) -> None:
        self.publish("targets", "snapshot", "timestamp")

    def serve(self, role: str) -> bytes:
        """Sign `role` as it is, link it and serve it."""
        signed = self.signed(role)
        data = sign(signed, self.signers[role])
        link = MetaFile(signed.version)
        if self.hashes:
            link = MetaFile.from_data(signed.version, data, ["sha256"])
        if isinstance(signed, Targets):
            self.snapshot.meta[f"{role}.json"] = link
        elif isinstance(signed, Snapshot):
            self.timestamp.snapshot_meta = link
        self.files[self.path(role)] = data
        return data

    def signed(self, role: str) -> Root | Targets | Snapshot | Timestamp:
        return self.delegated[role] if role in self.delegated else getattr(self, role)

    def path(self, role: str) -> str:
        plain = role == "timestamp" or (not self.root.consistent_snapshot and role != "root")
        name = quote(role, safe="")
        return f"metadata/{name}.json" if plain else f"metadata/{self.signed(role).version}.{name}.json"

    def pinned(self) -> bytes:
        return self.files["metadata/1.root.json"]

    def keys(self, role: str, numbers: list[int], threshold: int, signing: list[int] | None = None) -> None:
        """Give `role` the keys with these numbers, and let those in `signing` (default: all of them) sign it."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        for number in numbers:
            self.root.add_key(signer(number).public_key, role)
        self.root.roles[role].threshold = threshold
        self.signers[role] = [signer(number) for number in (numbers if signing is None else signing)]

    def delegate(self, parent: str, name: str, paths: list[str], *, terminating: bool = False) -> Targets:
        """Add a delegated role with a key of its own; publish it and its parent afterwards."""
        delegator = self.signed(parent)
        assert isinstance(delegator, Targets)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        delegator.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths)
        number = 100 + len(self.delegated)
        child = self.delegated.setdefault(name, Targets(version=1, expires=at(NOW + 30 * DAY)))
        self.signers.setdefault(name, [signer(number)])
        delegator.add_key(self.signers[name][0].public_key, name)
        return child

    def change(self, role: str, edit: Callable[[dict], object]) -> None:
        """Edit the JSON of a role as it is served, after it was signed."""
        document = json.loads(self.files[self.path(role)])
        edit(document)
        self.files[self.path(role)] = json.dumps(document).encode()

    def change_and_sign(self, role: str, edit: Callable[[dict], object]) -> None:
        """Edit the signed part of a role as it is served, and sign it again, whatever it says then."""

        def edited(document: dict) -> None:
            edit(document["signed"])
            payload = encode_canonical(document["signed"]).encode()
            document["signatures"] = [each.sign(payload).to_dict() for each in self.signers[role]]

        self.change(role, edited)


def lay_out(repo: Repository, folder: Path) -> Path:
    """Write what a repository serves as a kit does; return the folder."""
    for path, data in repo.files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def sign(signed: Root | Targets | Snapshot | Timestamp, signers: list[CryptoSigner]) -> bytes:
    metadata = Metadata(signed)
    for each in signers:
        metadata.sign(each, append=True)
    return metadata.to_bytes()


class Server:
    """One real HTTP server for any number of repositories."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._repositories: list[Repository] = []
        repositories = self._repositories

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = (
                    self.path.split("/", 3)[3] if "://" in self.path else self.path
                )  # as a proxy, it is its own server
                number, _, path = asked.lstrip("/").partition("/")
                repository = repositories[int(number)]
                repository.asked.append(path)
                if path in repository.answers:
                    repository.answers[path](self)
                elif path in repository.files:
                    answer(self, 200, repository.files[path])
                else:
                    answer(self, 404)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients of these tests hang up
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def url(self, repository: Repository) -> str:
        if repository not in self._repositories:
            self._repositories.append(repository)
        number = self._repositories.index(repository)
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/{number}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answer(request: http.server.BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(tls)
    try:
        yield server
    finally:
        server.close()


@dataclass
class Station:
    """A station's image side as the update loop drives it: floors read, looked up, floors raised."""

    home: Path
    http: httpx.Client
    server: Server
    root: bytes
    limits: FetchLimits = field(default_factory=FetchLimits)
    kit: Path | None = None

    @property
    def cache(self) -> Path:
        return self.home / "tuf"

    @property
    def floors(self) -> FloorsFile:
        return FloorsFile(self.home / "floors")

    def client(self, repo: Repository) -> TufClient:
        if self.kit is not None:
            return TufClient.for_folder(self.kit, self.cache, self.root, floors=self.floors, limits=self.limits)
        return TufClient(
            self.http, self.server.url(repo), self.cache, self.root, floors=self.floors, limits=self.limits
        )

    def refresh(self, repo: Repository, clock: float = NOW, *names: str) -> RepositoryVersions:
        floors = self.floors.read()
        _, seen = self.client(repo).look_up_targets(names, effective_now(floors, clock))
        self.floors.write(raise_repository(floors, seen))
        return seen

    def cached(self) -> dict[str, int]:
        """Return the version of each role that the cache holds."""
        found = {}
        for path in sorted(self.cache.rglob("*.json")):
            signed = json.loads(path.read_bytes())["signed"]
            found[signed["_type"]] = max(found.get(signed["_type"], 0), signed["version"])
        return found

    def files(self) -> dict[str, bytes]:
        """Return every file under the station's home, by its path."""
        return {str(path.relative_to(self.home)): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}


def versions(seen: RepositoryVersions) -> tuple[int, int, int, int]:
    return seen.root, seen.timestamp, seen.snapshot, seen.targets
