"""The tables of cloud.toml by which a fleet is operated: rollouts, who may, whom to tell, what is promised, second opinions."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from contract.errors import InvalidConfig

_ROLES = ("viewer", "inspector", "engineer", "releaser", "admin")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1")


class RolloutTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How releases reach the fleet.

    A candidate decides `shadow_share` of a station's frames unseen until it has seen `probation_frames`, within
    `probation_timeout_s`: at least `min_agreement` of them as the incumbent, no verdict's share more than `max_mix_shift` away
    from the incumbent's, and the process no more than `max_memory_mib` larger (0: not asked). Then it is in charge for `serve_s`
    before it is kept.

    First `shadow_stations` decide unseen only, then `canary` stations take it, then rising `wave_shares` of the fleet, each wave
    spread over `strata` ("board", "site", "camera"). A wave has run when all of its stations have, save those offline for
    `offline_wait_s` since, and `soak_s` have passed. It stops when the one-sided bound at `confidence` on the share of failures
    passes `max_failure`, when verdicts shift from the control group's by more than `max_shift`, or frames take `max_latency_ratio`
    times as long. `approvals` people other than who started it must approve first; `windows` ("mon-fri 22:00-05:00 Europe/Berlin")
    are when stations may be ordered, none: always; `hold_on_budget` holds it while an error budget is spent.
    """

    wave_shares: tuple[float, ...] = (0.05, 0.25)
    probation_frames: int = 256
    min_agreement: float = 0.9
    probation_timeout_s: float = 600.0
    shadow_share: float = 1.0
    max_mix_shift: float = 0.2
    max_memory_mib: float = 0.0
    serve_s: float = 300.0
    silence_s: float = 900.0
    shadow_stations: int = 0
    canary: int = 1
    strata: tuple[str, ...] = ("board", "site", "camera")
    offline_wait_s: float = 3600.0
    soak_s: float = 0.0
    max_failure: float = 0.02
    confidence: float = 0.95
    max_shift: float = 0.1
    max_latency_ratio: float = 2.0
    approvals: int = 0
    windows: tuple[str, ...] = ()
    hold_on_budget: bool = True


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is let in. `open_on_loopback`: on this machine one may look at the pages without signing in.

    A session lasts `session_h` hours. `requests_per_minute` of one person or address are answered; `failures_per_minute` wrong
    tokens of one address are looked at. The `oidc_*` let people sign in through an identity provider: `oidc_roles` gives a role
    by a value of the claim `oidc_claim`, the first in its order that somebody has; the claim `oidc_name` is what the audit log
    calls people, and must be one that they cannot change themselves.
    """

    open_on_loopback: bool = True
    session_h: float = 12.0
    requests_per_minute: int = 1200
    failures_per_minute: int = 30
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret_file: str = ""
    oidc_claim: str = "groups"
    oidc_name: str = "preferred_username"
    oidc_roles: dict[str, str] = {}


def check_auth(auth: AuthSettings) -> None:
    """Do nothing where the settings can be used.

    Raises:
        InvalidConfig: they cannot; the message names the key.
    """
    if not 0.0 < auth.session_h <= 8760.0:
        raise InvalidConfig(f"auth.session_h = {auth.session_h} must be above 0 and at most 8760 (a year)")
    for key, number in (
        ("auth.requests_per_minute", auth.requests_per_minute),
        ("auth.failures_per_minute", auth.failures_per_minute),
    ):
        if not 0 < number <= 1_000_000:
            raise InvalidConfig(f"{key} = {number} must be above 0 and at most 1000000")
    given = {
        "auth.oidc_issuer": auth.oidc_issuer,
        "auth.oidc_client_id": auth.oidc_client_id,
        "auth.oidc_roles": auth.oidc_roles,
    }
    if not any((*given.values(), auth.oidc_client_secret_file)):
        return
    for name, there in given.items():
        if not there:
            hint = "signing in through a provider needs oidc_issuer, oidc_client_id and oidc_roles"
            raise InvalidConfig(f"{name} is missing", hint=hint)
    for value, role in auth.oidc_roles.items():
        if role not in _ROLES:
            hint = f"use one of: {', '.join(_ROLES)}"
            raise InvalidConfig(f"auth.oidc_roles gives '{value}' the role '{role}', which there is not", hint=hint)
    try:
        issuer = urlsplit(auth.oidc_issuer)
        good = issuer.scheme == "https" or (issuer.scheme == "http" and _LOOPBACK.fullmatch(issuer.hostname or ""))
    except ValueError:
        good = None
    if not good or not issuer.hostname or issuer.query or issuer.fragment:
        hint = "use https://...; http alone on this machine"
        raise InvalidConfig(f"auth.oidc_issuer = '{auth.oidc_issuer}' is no address of a provider", hint=hint)


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told when somebody must look. `webhooks`: URLs by name, each of which gets a JSON POST; `mqtt`: also a message on
    pl/v1/agg/notice. What lasts is told again after `repeat_h`; what comes and goes at most once in `cooldown_s`. `page_url` is
    where links lead, "" for [api] public_url. `silent_after_s`: a station not heard for so long is told of.
    """

    webhooks: dict[str, str] = {}
    mqtt: bool = False
    cooldown_s: float = 900.0
    repeat_h: float = 24.0
    page_url: str = ""
    silent_after_s: float = 1800.0


class PromiseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet promises over `days`: shares of frames decided and decided in time, of station-hours with data no older than
    `fresh_s`, and of drifts mended within `recovery_h`.
    """

    days: int = 28
    availability: float = 0.999
    in_time: float = 0.99
    freshness: float = 0.99
    fresh_s: float = 900.0
    recovery: float = 0.9
    recovery_h: float = 72.0


class FallbackSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How second opinions are given: up to `max_batch` images at once, waiting at most `max_wait_ms` for others to come. A request
    that would be answered later than its own deadline, or `deadline_ms` where it states none, is refused at once.
    """

    max_batch: int = 8
    max_wait_ms: float = 4.0
    deadline_ms: float = 1000.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the log looks like: `format` "text" for people or "json", one object a line."""

    format: str = "text"
