"""A whole update plant for tests: real keys, a real registry served over real HTTP on loopback, and one station's adapters."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.image_fetch import ImageFetch, ImageSource
from agent.ports.slots import InstalledBundle, Trial, TrialNews, TrialOutcome
from agent.runtime.machine_facts import read_machine_facts
from agent.slots.ab_slots import Slots
from agent.slots.delta_download import DeltaDownloader
from agent.slots.disk import Disk
from agent.slots.download import HttpDownloader
from agent.slots.floors_file import FloorsFile
from agent.slots.tuf_client import TufClient
from agent.update_loop import UpdateLoop
from cloud.registry.bundle import BundleContent
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.keys import Keys, init_keys
from cloud.registry.orders import issue_order
from cloud.registry.release import Registry, release
from contract.manifest import Artefact, Golden, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.messages import DesiredState, Probation, ReportedState
from contract.preprocess import PreprocessSpec, preprocess

NOW = 1_795_200_000.0
STATION = "line3-cam1"
SPEC = PreprocessSpec(8, 8, 1, (0.5,), (0.25,))
PROBATION = Probation(frames=10, min_agreement=0.9, timeout_s=60.0)


def write_model(path: Path, seed: int, *, filler_bytes: int = 0) -> np.ndarray:
    """Write a linear classifier of 8 x 8 grey images into two labels; return its weights f32[64,2]."""
    weights = np.random.default_rng(seed).normal(size=(64, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weights, "w")],
        doc_string="x" * filler_bytes,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return weights


def bundle_content(
    folder: Path,
    version: str,
    seed: int = 0,
    *,
    filler_bytes: int = 0,
    golden_shift: float = 0.0,
    release_counter: int = 0,
) -> BundleContent:
    """Return the content of a small, true bundle; `golden_shift` makes its golden scores a lie."""
    folder.mkdir(parents=True, exist_ok=True)
    model, golden = folder / f"{version}.onnx", folder / f"{version}.npz"
    weights = write_model(model, seed, filler_bytes=filler_bytes)
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 8, 8, 1), np.uint8)
    scores = np.stack([preprocess(each, SPEC).reshape(1, -1) @ weights for each in pixels])[:, 0] + golden_shift
    np.savez(golden, pixels=pixels, scores=scores.astype(np.float32))
    return BundleContent(
        name="steel",
        version=version,
        labels=(Label("good", LabelKind.GOOD), Label("crack", LabelKind.DEFECT)),
        preprocess=SPEC,
        artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
        thresholds=Thresholds(0.9, 0.5),
        files={"model.onnx": model, "golden.npz": golden},
        golden=Golden("golden.npz", 1e-3),
        release_counter=release_counter,
    )


class FakeClock:
    """Time that moves when told to, and when slept in."""

    def __init__(self, at: float = NOW) -> None:
        self.at, self.ran = at, 0.0

    def now(self) -> float:
        return self.at + self.ran

    def monotonic(self) -> float:
        return self.ran

    def sleep(self, seconds: float) -> None:
        self.ran += seconds


class FakeInbox:
    """The newest desired state; `take` never waits but moves the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock, self._desired = clock, None

    def put(self, desired: DesiredState) -> None:
        self._desired = desired

    def take(self, within_s: float) -> DesiredState | None:
        desired, self._desired = self._desired, None
        if desired is None:
            self._clock.sleep(within_s)
        return desired


class FakeSwitch:
    """A frame loop that ends every trial as `verdict` says; None leaves it hanging."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.verdict: str | None = ""
        self.offered: list[Trial] = []
        self.recalled: list[InstalledBundle | None] = []
        self.judging: str | None = None
        self.withdrawn: list[tuple[str, str]] = []
        self.told: list[TrialNews] = []

    def judged_by(self, digest: str) -> None:
        self.judging = digest

    def judge(self) -> str | None:
        return self.judging

    def tell(self, news: TrialNews) -> None:
        self.told.append(news)

    def news(self) -> TrialNews | None:
        return self.told.pop(0) if self.told else None

    def withdraw(self, deployment: str, bundle: str) -> None:
        self.withdrawn.append((deployment, bundle))

    def next_withdrawn(self) -> tuple[str, str] | None:
        raise NotImplementedError

    def recall(self, bundle: InstalledBundle | None) -> None:
        self.recalled.append(bundle)

    def next_recall(self) -> tuple[InstalledBundle | None] | None:
        raise NotImplementedError

    def offer(self, trial: Trial) -> None:
        self.offered.append(trial)

    def next_trial(self) -> Trial | None:
        raise NotImplementedError

    def conclude(self, outcome: TrialOutcome) -> None:
        raise NotImplementedError

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        if self.verdict is None:
            self._clock.sleep(within_s)
            return None
        trial = self.offered[-1]
        shadowed = trial.probation.shadow_only and not self.verdict
        kept = not self.verdict and not shadowed
        return TrialOutcome(trial.deployment, trial.bundle.digest, kept, self.verdict, 10, 9, shadowed)


class FakeReport:
    """Every report, in order."""

    def __init__(self) -> None:
        self.said: list[ReportedState] = []

    def publish(self, state: ReportedState) -> None:
        self.said.append(state)

    def latest(self) -> ReportedState | None:
        return self.said[-1]

    def reset(self) -> None:
        pass

    def states(self) -> list[str]:
        """Return the states reported, repeats left out."""
        names = [each.update_state for each in self.said]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


class FakeSelfTest:
    """Says `reason`."""

    def __init__(self) -> None:
        self.reason, self.runs = "", 0

    def run(self, folder: object) -> str:
        self.runs += 1
        return self.reason


class FileServer:
    """Serves a folder with Range, and misbehaves on demand."""

    def __init__(self, folder: Path) -> None:
        self.cut_after: int | None = None
        self.ignore_range = False
        self.statuses: dict[str, int] = {}
        self.substitutes: dict[str, bytes] = {}
        self.seen: list[tuple[str, str]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Range", "")))
                for part, status in outer.statuses.items():
                    if part in self.path:
                        self.send_error(status)
                        return
                file = folder / self.path.lstrip("/")
                if not file.is_file():
                    self.send_error(404)
                    return
                data = next((b for part, b in outer.substitutes.items() if part in self.path), None)
                data = file.read_bytes() if data is None else data
                start, asked = 0, self.headers.get("Range")
                if asked and not outer.ignore_range:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(data):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                body = data[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.cut_after is not None and ".plb" in self.path:
                    body = body[: outer.cut_after]
                    self.close_connection = True
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class Plant:
    """One registry, one server, one station."""

    folder: Path
    keys: Keys
    registry: Registry
    server: FileServer
    http: httpx.Client
    root: bytes
    clock: FakeClock = field(default_factory=FakeClock)
    report: FakeReport = field(default_factory=FakeReport)
    selftest: FakeSelfTest = field(default_factory=FakeSelfTest)
    seq: int = 0

    def __post_init__(self) -> None:
        self.inbox, self.switch = FakeInbox(self.clock), FakeSwitch(self.clock)

    @property
    def home(self) -> Path:
        return self.folder / "station"

    def slots(self, disk: Disk | None = None) -> Slots:
        return Slots(self.home / "bundles", disk=disk)

    def floors(self) -> FloorsFile:
        return FloorsFile(self.home / "floors")

    def release(self, version: str, seed: int = 0, **more: object) -> ReleasedVersion:
        content = bundle_content(self.folder / "content", version, seed, **more)
        return release(content, self.registry, self.keys, self.clock.now())

    def order(
        self, released: ReleasedVersion, deployment: str = "", *, keys: Keys | None = None, **more: object
    ) -> str:
        self.seq += 1
        facts: dict = {
            "station": STATION,
            "bundle": released.digest,
            "size_bytes": released.size_bytes,
            "deployment": deployment or f"roll-{self.seq}",
            "desired_seq": self.seq,
            "release_counter": released.release_counter,
            "probation": PROBATION,
            "now": self.clock.now(),
        }
        return issue_order(keys or self.keys, **(facts | more))

    def send(self, envelope: str) -> str:
        self.inbox.put(DesiredState(STATION, envelope))
        return envelope

    def loop(self, disk: Disk | None = None, **more: object) -> UpdateLoop:
        """Return a started update loop, as after a start of the process."""
        slots, floors = self.slots(disk), more.pop("floors", None) or FloorsFile(self.home / "floors", disk=disk)
        client = TufClient(self.http, self.server.url, self.home / "tuf", self.root, floors=floors)
        full, deltas = (
            HttpDownloader(self.http, self.server.url, self.home / name, self.clock, disk=disk)
            for name in ("incoming", "deltas")
        )
        self.downloader = DeltaDownloader(
            full,
            deltas,
            lambda names: client.look_up_targets(names, self.clock.now())[0],
            slots.boot_bundles,
            self.home / "built",
            disk=disk,
        )
        source = ImageSource("the image repository", client, more.pop("downloader", None) or self.downloader)
        self.images = ImageFetch(lambda: [source], slots=slots, floors=floors, machine=read_machine_facts())
        parts: dict = {
            "inbox": self.inbox,
            "report": self.report,
            "images": self.images,
            "slots": slots,
            "floors": floors,
            "selftest": self.selftest,
            "switch": self.switch,
            "clock": self.clock,
            "roll": lambda: 0.5,
        }
        loop = UpdateLoop(STATION, "boot-1", lambda: [self.keys.order_key()], **(parts | more))
        loop.start()
        return loop

    def settle(self, loop: UpdateLoop, ticks: int = 60) -> ReportedState:
        """Tick until nothing is under way; return the last report."""
        for _ in range(ticks):
            loop.tick(1.0)
            if self.report.said and self.report.said[-1].update_state in ("COMMITTED", "ROLLED_BACK", "IDLE"):
                loop.tick(0.0)
                break
        return self.report.said[-1]

    def deploy(self, version: str, seed: int = 0, **more: object) -> ReleasedVersion:
        """Release a version and see it committed."""
        released = self.release(version, seed, **more)
        self.send(self.order(released))
        assert self.settle(self.loop()).update_state == "COMMITTED"
        return released


@contextmanager
def plant(folder: Path) -> Iterator[Plant]:
    """Yield a plant in `folder`; its registry is created and empty."""
    keys, registry = init_keys(folder / "keys"), Registry(folder / "registry")
    root = registry.tuf(keys).create(NOW)
    server = FileServer(registry.tuf_folder)
    try:
        with httpx.Client(timeout=60.0, trust_env=False) as client:
            yield Plant(folder, keys, registry, server, client, root)
    finally:
        server.close()
