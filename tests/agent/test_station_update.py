"""A station process follows signed orders from a real registry over real HTTP and MQTT, and turns bad bundles down (P3, P7)."""

from __future__ import annotations

import functools
import signal
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.registry.bundle import BundleContent
from cloud.registry.catalog import ReleasedVersion
from cloud.registry.keys import init_keys
from cloud.registry.orders import issue_order
from cloud.registry.release import Registry, release
from contract.codec import encode_control
from contract.manifest import Artefact, Golden, OutputKind, RuntimeKind, Thresholds
from contract.messages import DesiredState, Probation, ReportedState
from contract.preprocess import preprocess
from contract.topics import Channel, topic
from tests.fixtures_broker import start_broker
from tests.station_process import STATION, Collector, Station, wait_for
from tests.tiny_bundle import LABELS, SPEC, model_bytes


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Plant:
    """Keys, a registry served on loopback, and a station that trusts them."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self.folder = folder
        self.keys = init_keys(folder / "keys")
        self.registry = Registry(folder / "web/registry")
        self.registry.tuf(self.keys).create(time.time())
        (folder / "web/v1").mkdir(parents=True)
        (folder / "web/v1/tuf").symlink_to(self.registry.tuf_folder)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder / "web")))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        (folder / "root.json").write_bytes(self.registry.tuf(self.keys).root())
        (folder / "order.pub").write_bytes(msgspec.json.encode(self.keys.order_key()))
        url = f"http://127.0.0.1:{self.server.server_port}"
        self.station = Station(
            folder,
            broker_port,
            provisioned=False,
            extra=f'[cloud]\nurl = "{url}"\n[trust]\nroot = "root.json"\norder_keys = ["order.pub"]\n',
        )
        self.seq = 0

    def release(self, version: str, *, gain: float) -> ReleasedVersion:
        """Release a model that says of itself, in its golden vectors, just what it does."""
        model, golden = self.folder / f"{version}.onnx", self.folder / f"{version}.npz"
        model.write_bytes(model_bytes(gain=gain))
        pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
        score = np.array([gain * (float(preprocess(each, SPEC).mean()) - 0.5) for each in pixels], np.float32)
        np.savez(golden, pixels=pixels, scores=np.stack([score, -score], axis=1))
        content = BundleContent(
            name="tiny",
            version=version,
            labels=LABELS,
            preprocess=SPEC,
            artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
            thresholds=Thresholds(pass_at=0.5, reject_at=0.5),
            files={"model.onnx": model, "golden.npz": golden},
            golden=Golden("golden.npz", 1e-3),
        )
        return release(content, self.registry, self.keys, time.time())

    def order(
        self, collector: Collector, released: ReleasedVersion | None, deployment: str, serve_s: float = 0.5
    ) -> None:
        """Order a released bundle to be run; None: nothing."""
        self.seq += 1
        envelope = issue_order(
            self.keys,
            station=STATION,
            bundle=released.digest if released else "",
            size_bytes=released.size_bytes if released else 0,
            deployment=deployment,
            desired_seq=self.seq,
            probation=Probation(frames=30, min_agreement=0.9, timeout_s=30.0, serve_s=serve_s),
            now=time.time(),
        )
        desired = encode_control(DesiredState(STATION, envelope))
        collector.client.publish(topic(STATION, Channel.DESIRED), desired, qos=1, retain=True)

    def close(self) -> None:
        self.station.close()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[Plant, Collector]]:
    broker = start_broker(tmp_path / "broker")
    collector = Collector(broker.port)
    plant = Plant(tmp_path, broker.port)
    yield plant, collector
    plant.close()
    collector.close()
    broker.kill()


def last(collector: Collector, deployment: str) -> ReportedState | None:
    mine = [state for state in collector.reported if state.deployment == deployment]
    return mine[-1] if mine else None


def ended(collector: Collector, deployment: str) -> bool:
    state = last(collector, deployment)
    return state is not None and state.update_state in ("COMMITTED", "ROLLED_BACK")


@pytest.mark.slow
def test_first_install_then_a_bad_release_is_turned_down_then_a_good_one_takes_over(
    plant: tuple[Plant, Collector],
) -> None:
    house, collector = plant
    house.station.start()
    wait_for(lambda: any(s.accounting.review.get("no_model") for s in collector.summaries.values()))
    first = house.release("v1", gain=20.0)
    house.order(collector, first, "d1")
    wait_for(lambda: ended(collector, "d1"))
    state = last(collector, "d1")
    assert state is not None and (state.update_state, state.bundle) == ("COMMITTED", first.digest), state

    # It passes its own golden vectors, and then decides the wrong way round.
    house.order(collector, house.release("v2", gain=-20.0), "d2")
    wait_for(lambda: ended(collector, "d2"))
    state = last(collector, "d2")
    assert state is not None and (state.update_state, state.bundle) == ("ROLLED_BACK", first.digest), state
    assert "as the bundle in charge does" in state.reason
    assert state.shadow_frames == 30

    third = house.release("v3", gain=21.0)
    house.order(collector, third, "d3", serve_s=3.0)
    wait_for(lambda: ended(collector, "d3"))
    state = last(collector, "d3")
    assert state is not None and (state.update_state, state.bundle) == ("COMMITTED", third.digest), state
    wait_for(lambda: any(s.header.bundle == third.digest for s in collector.summaries.values()))
    shadows = [s.shadow for s in collector.summaries.values() if s.shadow is not None]
    assert shadows and all(sum(note.verdicts.values()) == note.frames for note in shadows)
    # Only the newest state is reported, so that one may pass unheard; the station's own log has each.
    bundle, said = f"bundle {third.digest[:12]}", house.station.said
    wait_for(lambda: f"{bundle} is kept" in said())
    assert said().index(f"{bundle} is in charge, on probation") < said().index(f"{bundle} is kept")

    # A newer order ends a probation that would last for an hour, and the incumbent is in charge again.
    house.order(collector, first, "d4", serve_s=3600.0)
    wait_for(lambda: (state := last(collector, "d4")) is not None and state.update_state == "PROBATION")
    house.order(collector, third, "d5")
    wait_for(lambda: ended(collector, "d5"))
    state = last(collector, "d5")
    assert state is not None and (state.update_state, state.bundle) == ("COMMITTED", third.digest), state
    wait_for(lambda: "is in charge again" in house.station.said())

    # It is stopped by an order, across a restart, and started again by the next one.
    judged_by_none = house.station.status()["review_causes"].get("no_model", 0)
    house.order(collector, None, "d6")
    wait_for(lambda: house.station.status()["review_causes"].get("no_model", 0) > judged_by_none)
    house.station.end(signal.SIGKILL)
    house.station.start()
    judged_by_none = house.station.status()["review_causes"]["no_model"]
    wait_for(lambda: house.station.status()["review_causes"]["no_model"] > judged_by_none)
    house.order(collector, third, "d7")
    wait_for(lambda: ended(collector, "d7"))
    state = last(collector, "d7")
    assert state is not None and (state.update_state, state.bundle) == ("COMMITTED", third.digest), state

    # Killed and started again, it boots what it committed, and every frame is still accounted for.
    house.station.end(signal.SIGKILL)
    rows = house.station.rows()
    house.station.start()
    wait_for(lambda: house.station.rows() > rows)
    assert house.station.status()["bundle"] == third.digest
    house.station.end_with_all_told()
    wait_for(lambda: collector.decided == house.station.rows())
    assert {s.header.bundle for s in collector.summaries.values()} >= {"", first.digest, third.digest}
