"""The tables of cloud.toml by which a fleet is operated: rollouts, who may, whom to tell, what is promised, second opinions."""

from __future__ import annotations

import math
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cloud.maintenance import read_window
from cloud.rollout.plan import MOST_CONFIDENCE, STRATA
from contract.errors import InvalidConfig

_ROLES = ("viewer", "inspector", "engineer", "releaser", "admin")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1")

MOST_DAYS = 400
"""For so long the hours that promises rest on are kept, and the days of costs."""


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


def check_rollout(rollout: RolloutTable, file: Path) -> None:
    """Do nothing where `[rollout]` can be followed.

    Raises:
        InvalidConfig: a value is out of its range, or a maintenance window is none; the message names the key.
    """
    if not all(0.0 < share <= 1.0 for share in rollout.wave_shares):
        raise InvalidConfig(f"{file}: rollout.wave_shares must each be above 0 and at most 1")
    if not 0.0 < rollout.confidence <= MOST_CONFIDENCE:
        hint = f"give at most {MOST_CONFIDENCE}, such as 0.95"
        raise InvalidConfig(f"{file}: rollout.confidence = {rollout.confidence} is not between 0 and 1", hint=hint)
    for key, share in (("max_failure", rollout.max_failure), ("max_shift", rollout.max_shift)):
        if not 0.0 <= share <= 1.0:
            raise InvalidConfig(f"{file}: rollout.{key} = {share} is outside 0..1")
    at_least = (
        ("canary", rollout.canary, 1),
        ("shadow_stations", rollout.shadow_stations, 0),
        ("approvals", rollout.approvals, 0),
        ("offline_wait_s", rollout.offline_wait_s, 0.0),
        ("soak_s", rollout.soak_s, 0.0),
    )
    for name, value, least in at_least:
        if not value >= least:
            raise InvalidConfig(f"{file}: rollout.{name} = {value} must not be below {least}")
    if not rollout.max_latency_ratio >= 1.0:
        hint = "frames may take that many times as long: 1 or more"
        raise InvalidConfig(f"{file}: rollout.max_latency_ratio = {rollout.max_latency_ratio}", hint=hint)
    for stratum in rollout.strata:
        if stratum not in STRATA:
            hint = f"use some of {', '.join(STRATA)}"
            raise InvalidConfig(
                f"{file}: rollout.strata has '{stratum}', which stations are not told apart by", hint=hint
            )
    for window in rollout.windows:
        try:
            read_window(window)
        except InvalidConfig as error:
            raise InvalidConfig(f"{file}: rollout.windows: {error.message}", hint=error.hint) from error


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
    """Who is told when somebody must look. `webhooks`: addresses by name, each of which gets a JSON POST ("file:PATH" reads one
    from a file); `secrets`: files, by a webhook's name, of what its messages are signed with; `mqtt`: also a message on
    pl/v1/agg/notice. What lasts is told again after `repeat_h`; what comes and goes at most once in `cooldown_s`. `page_url` is
    where links lead, "" for [api] public_url, and `runbook_url` where docs/RUNBOOKS.md is read, "" for the page /runbooks there.
    `silent_after_s`: a station not heard for so long is told of; `database_after_s`: a database that cannot be used for so long.
    """

    webhooks: dict[str, str] = {}
    secrets: dict[str, str] = {}
    mqtt: bool = False
    cooldown_s: float = 900.0
    repeat_h: float = 24.0
    page_url: str = ""
    runbook_url: str = ""
    silent_after_s: float = 1800.0
    database_after_s: float = 60.0

    def check(self, file: str) -> None:
        """Do nothing where the table can be used.

        Raises:
            InvalidConfig: it cannot; no message holds an address, which may hold a secret.
        """
        for name, url in self.webhooks.items():
            if name == "mqtt" or re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name) is None:
                hint = "use 1 to 32 of a-z, 0-9 and '-', but not 'mqtt', e.g. chat"
                raise InvalidConfig(f"{file}: alerts.webhooks cannot have the name '{name[:60]}'", hint=hint)
            check_webhook(f"{file}: alerts.webhooks.{name}", url)
        for name in self.secrets:
            if name not in self.webhooks:
                raise InvalidConfig(f"{file}: alerts.secrets.{name[:60]} is for no webhook of that name")
        for key, value in (
            ("cooldown_s", self.cooldown_s),
            ("repeat_h", self.repeat_h),
            ("database_after_s", self.database_after_s),
        ):
            if not 0.0 < value < math.inf:
                raise InvalidConfig(f"{file}: alerts.{key} = {value} must be above 0, and finite")
        if not 60.0 <= self.silent_after_s < math.inf:
            hint = "a station says something once in a minute at best"
            raise InvalidConfig(f"{file}: alerts.silent_after_s = {self.silent_after_s} is below 60", hint=hint)
        if self.page_url and urlsplit(self.page_url).scheme not in ("http", "https"):
            raise InvalidConfig(f"{file}: alerts.page_url must begin with http:// or https://")


def check_webhook(what: str, url: str) -> None:
    """Do nothing where `url` is an address that can be posted to, or "file:PATH".

    Raises:
        InvalidConfig: it is neither; the message says `what`, and not the address.
    """
    if url.startswith("file:"):
        return
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or any(not char.isprintable() or char == " " for char in url):
        hint = 'use e.g. "https://chat.example/hooks/TOKEN", or "file:secrets/chat.url"'
        raise InvalidConfig(f"{what} is no address that can be posted to", hint=hint)


class PromiseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet promises over `days`: shares of frames captured that are decided (`availability`) and of those decided in
    time (`in_time`), of minutes of each station with data no older than `fresh_s`, and of drifts mended within `recovery_h`.
    """

    days: int = 28
    availability: float = 0.999
    in_time: float = 0.99
    freshness: float = 0.99
    fresh_s: float = 900.0
    recovery: float = 0.9
    recovery_h: float = 72.0


class FallbackSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How second opinions are given: up to `max_batch` images at once, waiting at most `max_wait_ms` for others on their way. A
    request that would be answered later than its own deadline, or `deadline_ms` where it states none, is refused at once.
    `workers` judge side by side, on a processor core each (0: one fewer than there are). At most `max_waiting_mib` of images wait.
    """

    max_batch: int = 8
    max_wait_ms: float = 4.0
    deadline_ms: float = 1000.0
    workers: int = 0
    max_waiting_mib: float = 64.0


class TraceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where spans of traced frames go: `endpoint` of an OpenTelemetry collector, e.g. "http://otel:4318/v1/traces"; "": nowhere.

    Which frames are traced is each station's choice ([trace] share in agent.toml). Needs the extra [otel].
    """

    endpoint: str = ""


class MetricSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What /metrics says of stations by name: of `stations` of them at most, those that are offline first; 0: of none."""

    stations: int = 1000


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the log looks like: `format` "text" for people or "json", one object a line."""

    format: str = "text"
