"""What the broker's dynamic-security plugin is told: one role for each station, one for the cloud, nothing for anybody else.

A client is known by its certificate: a station by the whole subject (`stations_door`), the cloud's own by the common name. No
password is ever asked for, and the plugin's "disabled" is looked at only beside a password: whoever must not speak any more is
deleted, not disabled.
Format: mosquitto 2.0's dynamic-security.json and `$CONTROL/dynamic-security/v1`; what is used of it is the same in 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloud.provision.stations_door import Naming
from contract.ids import check_station_id
from contract.topics import AGGREGATOR_STATE, NOTICE, UP_CHANNELS, shared_filter

# No "=" is in them: at the stations' door nobody has such a name (`stations_door`).
INGEST_USER, ADMIN_USER = "cloud:ingest", "cloud:admin"
CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
RESPONSE_TOPIC = f"{CONTROL_TOPIC}/response"

_DEFAULTS = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")

Rule = dict[str, Any]


def station_rules(station: str) -> list[Rule]:
    """Return what a station may do: publish below its own up/, hear what is below its own dn/. $share is in nobody's pattern."""
    own = f"pl/v1/d/{check_station_id(station)}"
    return [
        _rule("publishClientSend", f"{own}/up/#"),
        _rule("publishClientReceive", f"{own}/dn/#"),
        _rule("subscribePattern", f"{own}/dn/#"),
        _rule("unsubscribePattern", f"{own}/dn/#"),
    ]


def ingest_rules() -> list[Rule]:
    """Return what the cloud may do: share every station's up/ among its workers, answer on dn/, say whether it is there
    and what people are told."""
    filters = [shared_filter(channel) for channel in UP_CHANNELS]
    return [
        *(_rule("subscribeLiteral", each) for each in filters),
        *(_rule("unsubscribeLiteral", each) for each in filters),
        _rule("publishClientReceive", "pl/v1/d/+/up/#"),
        _rule("publishClientSend", "pl/v1/d/+/dn/#"),
        _rule("publishClientSend", AGGREGATOR_STATE),
        _rule("publishClientSend", NOTICE),
        _rule("publishClientReceive", AGGREGATOR_STATE),
        _rule("subscribeLiteral", AGGREGATOR_STATE),
        _rule("subscribePattern", "$SYS/#"),
        _rule("publishClientReceive", "$SYS/#"),
    ]


def admin_rules() -> list[Rule]:
    """Return what `plumbline-cloud provision` may do: change the plugin's roles, and nothing else."""
    return [
        _rule("publishClientSend", CONTROL_TOPIC),
        _rule("publishClientReceive", RESPONSE_TOPIC),
        _rule("subscribeLiteral", RESPONSE_TOPIC),
    ]


def document(stations: Iterable[str], namings: Iterable[Naming]) -> Rule:
    """Return the whole dynamic-security.json for a plant with these stations, whose brokers name them in these ways."""
    namings, stations = list(namings), list(stations)
    cloud = {INGEST_USER: ingest_rules(), ADMIN_USER: admin_rules()}
    clients = [_client(user, user) for user in cloud]
    clients += [_client(naming.user(station), _role(station)) for station in stations for naming in namings]
    rules = cloud | {_role(station): station_rules(station) for station in stations}
    return {
        "defaultACLAccess": dict.fromkeys(_DEFAULTS, False),
        "clients": clients,
        "groups": [],
        "roles": [{"rolename": role, "acls": acls} for role, acls in rules.items()],
    }


def add_commands(stations: Iterable[str], namings: Iterable[Naming]) -> list[Rule]:
    """Return the plugin's commands that let stations speak. Done twice, the second time each answers that it exists."""
    namings, commands = list(namings), list[Rule]()
    for station in stations:
        commands.append({"command": "createRole", "rolename": _role(station), "acls": station_rules(station)})
        commands += [{"command": "createClient", **_client(naming.user(station), _role(station))} for naming in namings]
    return commands


def remove_commands(station: str) -> list[Rule]:
    """Return the commands that end a station's rights, by whatever name; the plugin closes its connection at once."""
    return [
        *({"command": "deleteClient", "username": naming.user(station)} for naming in Naming),
        {"command": "deleteRole", "rolename": _role(station)},
    ]


def default_commands() -> list[Rule]:
    """Return the command that makes "no" the answer to whatever no role allows."""
    acls = [{"acltype": name, "allow": False} for name in _DEFAULTS]
    return [{"command": "setDefaultACLAccess", "acls": acls}]


def ask_for_ingest_rules() -> Rule:
    """Return the command that asks what the cloud may do at this broker."""
    return {"command": "getRole", "rolename": INGEST_USER}


def missing_ingest_rules(answer: Rule) -> list[Rule]:
    """Return the commands that let the cloud do what `answer` lacks: a broker's roles may be of an older version.

    Each rule added costs the cloud its connection once; nothing is added where nothing is missing.
    """
    found = answer.get("data", {}).get("role", {}).get("acls", [])
    has = {(rule.get("acltype"), rule.get("topic")) for rule in found}
    wanted = [rule for rule in ingest_rules() if (rule["acltype"], rule["topic"]) not in has]
    return [{"command": "addRoleACL", "rolename": INGEST_USER, **rule} for rule in wanted]


def _role(station: str) -> str:
    return f"station:{station}"


def _client(user: str, role: str) -> Rule:
    return {"username": user, "roles": [{"rolename": role}]}


def _rule(kind: str, topic: str) -> Rule:
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": True}
