"""The broker's configuration, from the template in firmware_config/mosquitto, and where its plugin lies."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from contract.errors import InvalidConfig

PLUGIN = "mosquitto_dynamic_security.so"
# An order envelope's three parts at their largest, with room (agent.uplink.orders_http.MAX_BODY_BYTES).
MAX_PACKET_BYTES = 1 << 20
MAX_QUEUED = 100_000
# Where distributions put plugins.
_PLACES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib", "/usr/lib/mosquitto")


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    """Where the broker listens: for stations, and for the cloud. An address "" is every one of the machine's."""

    station_port: int = 8883
    station_bind: str = ""
    cloud_port: int = 8884
    cloud_bind: str = ""


def render(plan: BrokerPlan, folder: Path, plugin: Path, *, as_root: bool, log: str = "stderr") -> str:
    """Return mosquitto.conf for a broker whose files lie in `folder` (absolute).

    Raises:
        InvalidConfig: a path holds what mosquitto's configuration cannot.
    """
    for path in (folder, plugin):
        if any(c in str(path) for c in "\r\n\0"):
            raise InvalidConfig(f"mosquitto cannot read a path with a line break: {path!s}")
    template = Template(files("firmware_config").joinpath("mosquitto/mosquitto.conf.in").read_text())
    # Started by root, mosquitto changes to a user of its own, who may not read a folder of root's.
    user = "user root" if as_root else "# user: the one who starts it"
    return template.substitute(
        folder=folder,
        conf=folder / "mosquitto.conf",
        plugin=plugin,
        user=user,
        log_dest=log,
        max_queued=MAX_QUEUED,
        max_packet_bytes=MAX_PACKET_BYTES,
        station_port=plan.station_port,
        station_bind=plan.station_bind,
        cloud_port=plan.cloud_port,
        cloud_bind=plan.cloud_bind,
    )


def find_plugin(given: Path | None) -> Path:
    """Return the dynamic-security plugin: the one given, or the one that belongs to the mosquitto in PATH.

    Raises:
        InvalidConfig: there is none.
    """
    if given is not None:
        if not given.is_file():
            raise InvalidConfig(f"no plugin at {given}")
        return given.resolve()
    for found in _candidates():
        return found.resolve()
    raise InvalidConfig(f"no {PLUGIN} is here", hint="install mosquitto, or name the plugin with --plugin PATH")


def _candidates() -> Iterator[Path]:
    binaries = [shutil.which("mosquitto"), str(Path(sys.executable).with_name("mosquitto"))]
    for binary in filter(None, binaries):
        if not Path(binary).exists():
            continue
        # scripts/setup unpacks mosquitto beside the environment's bin folder.
        yield from sorted((Path(binary).parent.parent / "mosquitto").glob(f"usr/lib/*/{PLUGIN}"))
    for place in _PLACES:
        for pattern in (PLUGIN, f"*/{PLUGIN}"):
            yield from sorted(Path(place).glob(pattern))
