"""Which keys of agent.toml an order may set, and how far. Pure; a key that is in neither table is refused.

The order key alone signs settings, and it is the key that lies on a server. So remote settings must not be able to do what
bundles need two keys for (choose what judges), nor what no key may do: choose who is trusted, where images go, or what the
line looks at. Those keys stay with whoever can touch the station. What is left is tuning, and of it only what a probation on
the station can find wrong, or what is no looser than the station itself says: its board's profile, agent.toml and environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

_ROOM = "less deletes what is kept, for good, and how much room there is is for whoever knows the disk"

NEVER: Mapping[str, str] = {
    "station": "it is who the station is, and what its orders are addressed to",
    "home": "what the station keeps would be left behind, its floors and bans too",
    "trust": "an order must not choose whose orders are followed",
    "bundle": "bundles come by orders that the image keys vouch for too",
    "models": "bundles come by orders that the image keys vouch for too",
    "cloud": "kept images and the station's token go there: who holds an order key would have them sent to himself",
    "api": "who may ask on the plant's own network is for the plant to say, and a token file is any file's first line",
    # A wrong camera gives good verdicts on the wrong part, and no probation could tell. A pipeline can send images anywhere, and
    # gst_python is a program that is run.
    "cameras": "what the line looks at is for whoever stands beside it to say",
    "source.kind": "what the line looks at is for whoever stands beside it to say",
    "source.device": "what the line looks at is for whoever stands beside it to say",
    "source.url": "what the line looks at is for whoever stands beside it to say",
    "source.folder": "what the line looks at is for whoever stands beside it to say",
    "source.scene": "what the line looks at is for whoever stands beside it to say",
    "source.controls": "it names a file of the station",
    "source.pipeline": "a pipeline can run anything and send images anywhere",
    "source.gst_python": "it names a program that is run",
    "board": "a profile says what this machine is, and it lies under agent.toml",
    "plc": "what releases parts, and who may trigger, is for whoever stands beside the line to say",
    "broker.allowed_hosts": "it says which brokers an order may choose",
    "broker.ca_file": "it says which brokers are believed",
    "broker.cert_file": "it names a file of the station",
    "broker.key_file": "it names a file of the station",
    "source.hardware_trigger": "it says how the camera is wired; wrong, a dead camera would be no fault",
    # Higher, heat is noticed when the board slows itself down; lower, a station is for ever degraded, after its probation too.
    "degrade.hot_c": "how hot it may get is for whoever knows the board and where it hangs",
    # Lower, records and kept images are deleted, and no roll-back brings them back; higher, the disk fills up after the
    # probation has ended.
    "trace": "spans of frames go to another machine: which is for the plant to say",
    "log": "what reads the journal stands at the station",
    "limits.disk_mib": _ROOM,
    "limits.outbox_mib": _ROOM,
    "limits.samples": _ROOM,
    "limits.samples_mib": _ROOM,
    "limits.results_rows": _ROOM,
}
"""Keys and whole sections that no order sets, with the reason a person is told."""


class Bound(str, Enum):
    """How a remote value may differ from the station's own: the one that all layers under an order give."""

    FREE = "anything"
    NOT_ABOVE = "not above the station's own"
    NOT_BELOW = "not below the station's own"
    ONLY_OFF = "true only where the station itself has true"
    ONLY_ON = "false only where the station itself has false"
    SOONER = "not above the station's own, and 0 (never) only where that is 0"
    NEAR = "within a factor of 8 of the station's own"
    STRICTER = "not looser than the station's own"
    LISTED = "the station's own, or one that it lists as allowed"


_FREE = Bound.FREE

KEYS: Mapping[str, Bound] = {
    "source.fps": _FREE,
    "source.seed": _FREE,
    "source.shuffle": _FREE,
    "source.loop": _FREE,
    "source.watch": _FREE,
    "source.height": _FREE,
    "source.width": _FREE,
    "source.pixel_format": _FREE,
    # What notices a broken camera or model works after every probation too, so no order loosens it: a probation with a camera
    # that is well shows nothing of it.
    "source.stall_s": Bound.SOONER,
    # How long the machine can wait for a verdict is known beside it. A verdict that comes too late for the ejector is none,
    # and the station would never know; a shorter deadline only makes more REVIEW.
    "line.deadline_ms": Bound.NOT_ABOVE,
    "line.threads": _FREE,
    "line.blank_sd": Bound.NOT_BELOW,
    "line.frozen_after": Bound.SOONER,
    # Lower, fewer frames are refused, and a longer time passes before any is. 0 never refuses.
    "line.unfamiliar": Bound.NOT_BELOW,
    # Frames that wait are memory; only a backlog, which may come later, fills it.
    "line.queue": Bound.NEAR,
    "line.wedged_s": Bound.NOT_ABOVE,
    "runtime.provider": _FREE,
    "runtime.engines_mib": Bound.NOT_ABOVE,
    "runtime.engine_build_s": Bound.NEAR,
    # A window that never closes tells nobody anything, and neither does one of a single frame.
    "windows.frames": Bound.NEAR,
    "windows.seconds": Bound.NEAR,
    # Whoever would have a changed line go unseen would begin here.
    "windows.sketch": Bound.ONLY_ON,
    # A reference that is never complete, or of one frame, is none: drift would go unseen.
    "enrol.frames": Bound.NEAR,
    # Whose broker it is, no probation can tell: a thief's hands over this very order too. So agent.toml says which may be.
    # That the order is handed over (`MOVES_BROKER`) shows that it is one where the cloud still reaches the station.
    "broker.host": Bound.LISTED,
    "broker.port": _FREE,
    # It shows only when the broker is away, which in a probation it may not be.
    "broker.resend_after_s": Bound.NEAR,
    "broker.reconnect_max_s": Bound.NEAR,
    # P8: agent.toml says what may leave, and how much; an order can only make it less.
    "policy.images_leave": Bound.STRICTER,
    "policy.fallback": Bound.ONLY_OFF,
    "policy.fallback_per_s": Bound.NOT_ABOVE,
    "policy.fallback_burst": Bound.NOT_ABOVE,
    "policy.deferred": Bound.ONLY_OFF,
    "policy.deferred_per_hour": Bound.NOT_ABOVE,
    "policy.deferred_mib_per_day": Bound.NOT_ABOVE,
    # What is kept does not leave by itself; what is not kept, nobody finds a bad model by.
    "policy.audit_rate": Bound.NOT_BELOW,
    "policy.doubtful_per_window": Bound.NOT_BELOW,
    "degrade.enabled": Bound.ONLY_ON,
    "degrade.climb_s": Bound.NEAR,
    "degrade.relief_s": Bound.NEAR,
    "degrade.backlog": Bound.NEAR,
    "degrade.battery": Bound.NEAR,
    # What a crash may lose; shorter wears flash out sooner.
    "limits.commit_s": Bound.NOT_ABOVE,
}
"""Every key that an order may set, and how far."""

MOVES_BROKER = frozenset({"broker.host", "broker.port"})

_NEAR = 8
_STRICTNESS = {"requested": 0, "unsure": 1, "never": 2}
# Beyond it an integer is no longer exact in the numbers that settings are turned into, nor fits SQLite's.
_MOST = 2**53


def why_never(remote: Mapping[str, Any]) -> tuple[str, str]:
    """Return (key, why) of the first key in `remote`, TOML as read, that no order sets; ("", "") when there is none."""
    for name, value in remote.items():
        if name in NEVER:
            return name, NEVER[name]
        for key in value if isinstance(value, Mapping) else ():
            if f"{name}.{key}" in NEVER:
                return f"{name}.{key}", NEVER[f"{name}.{key}"]
    return "", ""


def why_beyond(remote: Mapping[str, Any], local: Mapping[str, Any], merged: Mapping[str, Any]) -> tuple[str, str]:
    """Return (key, why) of the first remote value that goes further than it may; ("", "") when none does.

    Args:
        remote: TOML as read; only its keys are looked at.
        local: the station's settings without the order, by section and key.
        merged: the same with `remote` laid over them.
    """
    for key in _leaves(remote):
        bound = KEYS.get(key)
        if bound is None:
            return key, "no order may set it"
        section, _, name = key.partition(".")
        if bound is Bound.LISTED:
            why = _why_unlisted(local[section], name, merged[section][name])
        else:
            why = _why_beyond(bound, local[section][name], merged[section][name])
        if why:
            return key, why
    return "", ""


def moves_broker(remote: Mapping[str, Any]) -> bool:
    """Return whether `remote`, TOML as read, names another broker."""
    return not MOVES_BROKER.isdisjoint(_leaves(remote))


def _leaves(remote: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in remote.items():
        found += [f"{name}.{key}" for key in value] if isinstance(value, Mapping) else [name]
    return found


def _why_beyond(bound: Bound, local: Any, value: Any) -> str:
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= _MOST):
        return f"{value:.3g} is no number to work with"
    if bound is Bound.NOT_ABOVE and value > local:
        return f"the station itself says {local:g}, and an order can only lower it"
    if bound is Bound.NOT_BELOW and value < local:
        return f"the station itself says {local:g}, and an order can only raise it"
    if bound is Bound.ONLY_OFF and value and not local:
        return "the station itself says false, and an order cannot switch it on"
    if bound is Bound.ONLY_ON and local and not value:
        return "the station itself says true, and an order cannot switch it off"
    # Below 0 it is never, too.
    if bound is Bound.SOONER and local > 0 and not 0 < value <= local:
        return f"the station itself says {local:g}, and an order cannot raise it or switch it off"
    # Of 0, which may mean "never", nothing but 0 is near.
    if bound is Bound.NEAR and not min(local / _NEAR, local) <= value <= max(local * _NEAR, local):
        return f"the station itself says {local:g}, and an order moves it by a factor of {_NEAR} at most"
    if bound is Bound.STRICTER and _STRICTNESS[value] < _STRICTNESS[local]:
        return f"the station itself says '{local}', and an order can only make it stricter"
    return ""


def _why_unlisted(section: Mapping[str, Any], name: str, value: Any) -> str:
    if value == section[name]:
        return ""
    if not value:
        return "it must not be empty: the station would never be reached again"
    if value not in section[f"allowed_{name}s"]:
        return f"the station itself says '{section[name]}', and does not list '{value[:80]}' in allowed_{name}s"
    return ""
