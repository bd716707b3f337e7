"""The line's broker behind TLS: who has no certificate is not heard, and the station believes its own authority only."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.line_io.mqtt import MqttLine
from tests.agent.line_io.line_certs import Pair, make_pair
from tests.agent.line_io.line_rig import NOT_FOR_EVER_S, RUNNING, TOPIC, Line, MqttController, until
from tests.fixtures_broker import Broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Pair:
    return make_pair(folder, "plant", authority=True)


@pytest.fixture
def secure(tmp_path: Path, folder: Path, authority: Pair) -> Iterator[Broker]:
    own = make_pair(folder, "broker", issuer=authority)
    files = f"cafile {authority.cert}\ncertfile {own.cert}\nkeyfile {own.key}\nrequire_certificate true\n"
    broker = Broker(tmp_path / "broker", config=files)
    broker.start()
    yield broker
    broker.kill()


def line_with(broker: Broker, ca: Pair, own: Pair | None) -> Line:
    def opened(desk: object, log: object) -> MqttLine:
        return MqttLine(
            desk,  # type: ignore[arg-type]
            log,  # type: ignore[arg-type]
            topic=TOPIC,
            client_id="press-3-line",
            host="127.0.0.1",
            port=broker.port,
            ca_file=ca.cert,
            cert_file=own.cert if own else None,
            key_file=own.key if own else None,
            heartbeat_s=0.2,
            monotonic=RUNNING.monotonic,
        )

    return Line(opened).start()


@pytest.mark.slow
def test_a_trigger_over_mutual_tls_gets_its_verdict(secure: Broker, folder: Path, authority: Pair) -> None:
    line = line_with(secure, authority, make_pair(folder, "press-3", issuer=authority))
    own = make_pair(folder, "plc", issuer=authority)
    context = ssl.create_default_context(cafile=authority.cert)
    context.load_cert_chain(own.cert, own.key)
    plc = MqttController(secure.port, tls=context)
    try:
        plc.state(lambda state: bool(state["ready"]))
        for ask in range(50):
            plc.trigger(ask, "p")
            assert plc.next("verdict")["ask"] == ask
    finally:
        line.stop()
        plc.close()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("wrong", ["no certificate", "another plant's certificate", "another authority"])
def test_who_cannot_show_who_he_is_gets_nothing(secure: Broker, folder: Path, authority: Pair, wrong: str) -> None:
    other = make_pair(folder, "elsewhere", authority=True)
    own = None if wrong == "no certificate" else make_pair(folder, "intruder", issuer=other)
    if wrong == "another authority":
        own = make_pair(folder, "press-3", issuer=authority)
    line = line_with(secure, other if wrong == "another authority" else authority, own)
    try:
        until(lambda: "is away" in line.loop.trouble)
        if wrong == "another authority":
            until(lambda: "certificate verify failed" in line.loop.trouble)
        assert len(line.adapters) == 1
    finally:
        assert line.stop() < NOT_FOR_EVER_S
