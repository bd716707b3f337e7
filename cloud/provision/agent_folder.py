"""What a station is started with: agent.toml and the trust anchors, by their path in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cloud.registry.keys import ORDER_KEY_FILE

IDENTITY, CA, NOTE, TOKEN = "identity.pem", "ca.pem", "certificate.json", "station.token"

_AGENT_TOML = """# A Plumbline station. Paths are relative to this file. `plumbline-agent run --help` lists every key.
station = {station}
home = "state"

[source]
kind = "simulated"

[broker]
host = {broker_host}
port = {broker_port}
{tls}
[cloud]
url = {url}
token_file = "station.token"
{tls}
[trust]
root = "trust/root.json"
order_keys = {order_keys}
"""

# One file holds certificate and key, so that a renewal replaces both in one step.
_TLS = f"""ca_file = "{CA}"
cert_file = "{IDENTITY}"
key_file = "{IDENTITY}"
"""


@dataclass(frozen=True, slots=True)
class StationPlan:
    """How a station reaches its cloud."""

    broker_host: str
    broker_port: int
    url: str
    tls: bool


def station_files(station: str, plan: StationPlan, root: bytes, order_keys: Sequence[bytes]) -> dict[str, str]:
    """Return agent.toml, the pinned root.json and the pinned order keys (JSON), the one that signs now first."""
    names = order_key_files(len(order_keys))
    # A JSON string is a TOML basic string too, and a list of them a TOML array.
    values = {
        "station": station,
        "broker_host": plan.broker_host,
        "order_keys": names,
        "url": plan.url,
    }
    config = _AGENT_TOML.format(
        broker_port=plan.broker_port,
        tls=_TLS if plan.tls else "",
        **{k: json.dumps(v) for k, v in values.items()},
    )
    keys = {name: key.decode() + "\n" for name, key in zip(names, order_keys, strict=True)}
    return {"trust/root.json": root.decode(), **keys, "agent.toml": config}


def order_key_files(count: int) -> list[str]:
    """Return the names of `count` pinned keys: the one that signs now, and those before it that still count."""
    stem = f"trust/{ORDER_KEY_FILE.removesuffix('.json')}"
    return [f"{stem}.json", *(f"{stem}_{number}.json" for number in range(2, count + 1))]
