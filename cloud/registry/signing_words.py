"""A signing request in words: what a holder of a key is asked to vouch for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

# python-tuf exports some of these without __all__, which mypy --strict does not follow.
from tuf.api.metadata import Root, TargetFile, Targets  # type: ignore[attr-defined]

from cloud.registry.keys import TUF_ROLES
from cloud.registry.resign_status import LIFETIMES_DAYS
from cloud.registry.signing_request import SigningRequest, key_name, needs
from contract.delta import delta_ends
from contract.order_keys_target import is_order_keys_target

_DAY_S = 86_400.0


def describe(request: SigningRequest, now: float) -> list[str]:
    """Return lines that say what is new in a request against what is in force, and which signatures it has.

    Args:
        now: Unix seconds, of the machine that signs.
    """
    signed = request.metadata.signed
    lines = [f"{request.role} {request.version}, {_valid_until(request.role, signed.expires, now)}"]
    if isinstance(signed, Root):
        lines += _root_changes(request.roots[-1].signed if request.roots else None, signed)
    elif isinstance(signed, Targets):
        lines += _target_changes(request.current.signed if request.current else None, signed)
    if request.lost_keys:
        lines.append("  the old keys are said to be LOST: they do not sign")
    if request.restart_versions:
        lines.append("  snapshot and timestamp versions begin anew (recovery from stolen online keys)")
    lines += [f"  has {need.in_words()}" for need in needs(request)]
    return lines


def lacking_words(request: SigningRequest) -> str:
    """Return whose signatures a request lacks, in one line."""
    return f"{request.role} {request.version} has " + "; ".join(n.in_words() for n in needs(request) if not n.holds)


def how_to_sign(files: Sequence[Path]) -> str:
    """Return what to run so that requests in `files` get their signatures and are published."""
    return (
        f"where the keys are: plumbline-cloud keys sign {' '.join(str(each) for each in files)} --keys DIR; "
        "then here: plumbline-cloud keys publish"
    )


def _root_changes(before: Root | None, after: Root) -> list[str]:
    lines = []
    for role in TUF_ROLES:
        new = after.roles[role]
        old = before.roles[role] if before is not None else None
        was = set(old.keyids) if old is not None else set()
        added = [key_name(after, keyid) for keyid in new.keyids if keyid not in was]
        removed = [key_name(before, k) for k in sorted(was) if k not in new.keyids] if before is not None else []
        facts = []
        if added:
            facts.append(f"new keys {', '.join(added)}")
        if removed:
            facts.append(f"no longer {', '.join(removed)}")
        if old is None or old.threshold != new.threshold:
            facts.append(f"{new.threshold} of {len(new.keyids)} must sign" + (f" (was {old.threshold})" if old else ""))
        if facts:
            lines.append(f"  {role}: {'; '.join(facts)}")
    return lines or ["  the same keys as before: it only lives longer"]


def _target_changes(before: Targets | None, after: Targets) -> list[str]:
    old = before.targets if before is not None else {}
    lines = [f"  new: {_target(after.targets[path])}" for path in sorted(after.targets) if path not in old]
    lines += [f"  REMOVED: {_target(old[path])}" for path in sorted(old) if path not in after.targets]
    changed = [path for path in sorted(old) if path in after.targets and old[path] != after.targets[path]]
    lines += [f"  CHANGED: {_target(old[path])} -> {_target(after.targets[path])}" for path in changed]
    if after.delegations is not None:
        lines.append("  DELEGATES to other keys, which Plumbline never does: do not sign")
    deltas = sum(delta_ends(path) is not None for path in after.targets)
    bundles = len(after.targets) - deltas - sum(map(is_order_keys_target, after.targets))
    return [
        *(lines or ["  the same bundles as before: it only lives longer"]),
        f"  {bundles} bundles in all" + (f", and {deltas} deltas between them" if deltas else ""),
    ]


def _target(info: TargetFile) -> str:
    ends = delta_ends(info.path)
    if ends is not None:
        # A station checks what a delta makes against the bundle's own hash: by itself it vouches for nothing.
        return f"a delta from {ends[0][:12]} to {ends[1][:12]}, {info.length} bytes"
    if is_order_keys_target(info.path):
        return f"NEW ORDER KEYS for every station, {info.path} with SHA-256 {info.hashes.get('sha256', '')}"
    custom = info.unrecognized_fields.get("custom")
    facts = custom if isinstance(custom, dict) else {}
    name = " ".join(str(facts[key])[:80] for key in ("name", "version") if facts.get(key))
    return f"{name or info.path[:120]}, bundle {info.hashes.get('sha256', 'without SHA-256')}, {info.length} bytes"


def _valid_until(role: str, expires: datetime, now: float) -> str:
    left = (expires.timestamp() - now) / _DAY_S
    text = f"valid until {expires.isoformat()[:10]} ({left:.0f} days)"
    if left <= 0:
        return f"{text}: ALREADY EXPIRED by this machine's clock"
    # Metadata that never expires would let an attacker freeze stations at it.
    return f"{text}: LONGER than {role} ever lives" if left > LIFETIMES_DAYS[role] + 2 else text
