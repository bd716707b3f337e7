"""A registry with keys in several folders, served by a real HTTP server, and python-tuf's own client as the judge."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tuf.ngclient import Updater, UpdaterConfig

from cloud.registry.bundle import BundleContent
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.keys import Keys, init_keys, load_keys
from cloud.registry.release import Registry, release
from cloud.registry.signing_request import SigningRequest, decode_request, encode_request, sign_request
from contract.ids import bundle_target
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import PreprocessSpec

NOW = 1_795_200_000.0
DAY = 86_400.0


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet: else each answer waits for the client's delayed ack
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; yield its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class TufPlant:
    """One registry. `keys` are those of the server alone; `sticks` hold root and targets keys."""

    folder: Path
    url: str
    sticks: tuple[Path, ...] = ()
    now: float = NOW
    cache: int = 0
    registry: Registry = field(init=False)

    def __post_init__(self) -> None:
        self.registry = Registry(self.folder / "registry")

    @property
    def online(self) -> Path:
        return self.folder / "keys"

    def keys(self, *sticks: Path) -> Keys:
        """Return the server's keys, with those of plugged-in sticks."""
        return load_keys(self.online, *sticks)

    def everyone(self) -> Keys:
        return self.keys(*self.sticks)

    def release(self, version: str, keys: Keys) -> ReleasedVersion:
        return release(content(self.folder / "content", version), self.registry, keys, self.now)

    def client(self, pinned: bytes, *, name: str = "") -> Client:
        """Return a new client that trusts `pinned`; one of a name keeps its cache."""
        self.cache += 1
        return Client(self.folder / "clients" / (name or str(self.cache)), self.url, pinned)

    def sign_elsewhere(self, request: SigningRequest, stick: Path) -> SigningRequest:
        """Carry a request to the machine of a stick's holder and back, as a file."""
        there = decode_request(encode_request(request))
        signed, names = sign_request(there, load_keys(stick))
        assert names
        return decode_request(encode_request(signed))


@dataclass
class Client:
    """python-tuf's client, with the time passed in."""

    cache: Path
    url: str
    pinned: bytes

    def refresh(self, now: float = NOW) -> Updater:
        """Return the client after a refresh that it accepted; raises its error where it does not."""
        self.cache.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(self.cache), f"{self.url}/metadata/", bootstrap=self.pinned, config=UpdaterConfig(),
            target_dir=str(self.cache), target_base_url=f"{self.url}/targets/",
        )  # fmt: skip
        updater._trusted_set.reference_time = datetime.fromtimestamp(now, tz=timezone.utc)
        updater.refresh()
        return updater

    def sees(self, digest: str, now: float = NOW) -> bool:
        """Return whether it is offered this bundle."""
        return self.refresh(now).get_targetinfo(bundle_target(digest)) is not None

    def root(self, now: float = NOW) -> int:
        return int(self.refresh(now)._trusted_set.root.version)


def content(folder: Path, version: str) -> BundleContent:
    """Return the content of a bundle of a few bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.onnx").write_bytes(f"model {version}".encode())
    return BundleContent(
        name="steel",
        version=version,
        labels=(Label("good", LabelKind.GOOD), Label("crack", LabelKind.DEFECT)),
        preprocess=PreprocessSpec(8, 8, 1, (0.5,), (0.5,)),
        artefacts=(Artefact("m.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS),),
        thresholds=Thresholds(0.9, 0.5),
        files={"m.onnx": folder / "m.onnx"},
    )


@contextmanager
def tuf_plant(
    folder: Path,
    *,
    root: tuple[int, int] = (1, 1),
    targets: tuple[int, int] = (1, 1),
    sticks: int = 0,
    create: bool = True,
) -> Iterator[TufPlant]:
    """Yield a plant with `root` and `targets` of (keys, threshold), on `sticks` sticks in turn."""
    (folder / "registry" / "tuf").mkdir(parents=True)
    with served(folder / "registry" / "tuf") as url:
        here = TufPlant(folder, url, tuple(folder / f"stick-{number}" for number in range(1, sticks + 1)))
        init_keys(here.online, counts={"root": root, "targets": targets}, offline=here.sticks)
        if create:
            here.registry.tuf(here.everyone()).create(NOW)
        yield here
