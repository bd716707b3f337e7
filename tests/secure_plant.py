"""A plant with mutual TLS for tests: what `plumbline-cloud init --secure` made, its mosquitto, and bare MQTT clients."""

from __future__ import annotations

import queue
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from cloud.__main__ import main
from cloud.provision.authority import Authority, Identity, make_key
from cloud.provision.folder import ProvisionFolder
from tests.fixtures_broker import ROOT, free_port

PATIENCE_S = 60.0
_LISTENS = "listen socket on port"


class SecurePlant:
    """`home` is the cloud's; the broker runs between `start_broker` and `stop_broker`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "plant"
        self.config = self.home / "cloud.toml"
        self.station_port, self.cloud_port, self.api_port = free_port(), free_port(), free_port()
        ports = ["--api-port", self.api_port, "--broker-port", self.cloud_port, "--station-port", self.station_port]
        names = ["--broker-bind", "127.0.0.1", "--broker-name", "127.0.0.1", "--device-port", free_port()]
        self.command("init", "--home", self.home, "--secure", *ports, *names, config=False)
        self.provision = ProvisionFolder(self.home / "provision")
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "mosquitto.log"

    def command(self, *words: object, config: bool = True, code: int = 0) -> None:
        """Run a plumbline-cloud command on this plant."""
        more = ["--config", str(self.config)] if config else []
        assert main([*(str(word) for word in words), *more]) == code

    def start_broker(self) -> None:
        """Start mosquitto with what the product wrote, and wait until both listeners are there."""
        said = self._log.read_text().count(_LISTENS) if self._log.exists() else 0
        with self._log.open("ab") as log:
            command = (str(ROOT / ".venv/bin/mosquitto"), "-c", str(self.provision.broker / "mosquitto.conf"))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: self._log.read_text().count(_LISTENS) >= said + 2, "the broker listens")

    def stop_broker(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """Return what the broker said."""
        return self._log.read_text()

    def identity(self, name: str, authority: Authority, *, now: float | None = None, days: float = 30.0) -> Path:
        """Return a file with a new certificate of `authority` for `name`, and its key."""
        key, public = make_key()
        issued = authority.sign_client(name, public, now=time.time() if now is None else now, days=days)
        file = self.folder / f"{name.replace(':', '-')}-{issued.serial[:8]}.pem"
        file.write_bytes(Identity(issued.pem, key).pem())
        return file


class Client:
    """An MQTT client in a thread of its own. `refused` is why it is not connected, "" when it is."""

    def __init__(
        self,
        plant: SecurePlant,
        identity: Path | None,
        client_id: str,
        *,
        cloud: bool = False,
        will: str = "",
        user: str = "",
    ) -> None:
        self._events: queue.Queue[str] = queue.Queue()
        self._granted: queue.Queue[bool] = queue.Queue()
        self._published: dict[int, bool] = {}
        self.arrived: list[tuple[str, bytes]] = []
        self.lost = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        context = ssl.create_default_context(cafile=str(plant.provision.trust))
        if identity is not None:
            context.load_cert_chain(identity)
        self._client.tls_set_context(context)
        if user:
            self._client.username_pw_set(user, "any")
        if will:
            self._client.will_set(will, b"will", qos=1)
        self._client.on_connect = lambda _c, _u, _f, reason, _p: self._events.put(
            str(reason) if reason.is_failure else ""
        )
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = lambda _c, _u, m: self.arrived.append((m.topic, bytes(m.payload)))
        self._client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._granted.put(not reasons[0].is_failure)
        self._client.on_publish = lambda _c, _u, mid, reason, _p: self._published.__setitem__(
            mid, not reason.is_failure
        )
        try:
            self._client.connect("127.0.0.1", plant.cloud_port if cloud else plant.station_port, keepalive=60)
        except OSError as error:
            self.refused = str(error) or "refused"
            return
        self._client.loop_start()
        self.refused = self._events.get(timeout=PATIENCE_S)
        if self.refused:
            self.close()

    def may_subscribe(self, topic: str) -> bool:
        """Subscribe, and return whether the broker granted it."""
        self._client.subscribe(topic, 1)
        return self._granted.get(timeout=PATIENCE_S)

    def may_publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> bool:
        """Publish at QoS 1, and return whether the broker took it."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        wait_for(lambda: mid in self._published, f"an answer to {topic}")
        return self._published[mid]

    def cut(self) -> None:
        """Break the connection as a power cut would, so that the Will is due."""
        self._client.loop_stop()
        sock = self._client.socket()
        assert sock is not None
        sock.close()
        self._client.on_disconnect = None

    def close(self) -> None:
        """Say goodbye."""
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _on_disconnect(self, _c: object, _u: object, _f: object, reason: object, _p: object) -> None:
        self.lost = True
        self._events.put(str(reason) or "closed")


def wait_for(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait until it is so."""
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.01)
