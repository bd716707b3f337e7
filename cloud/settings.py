"""cloud.toml: the only place of the cloud that reads a config file. Paths are relative to that file's folder."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.drift.policy import DriftPolicy
from cloud.settings_improve import DriftSettings, RetrainSettings, ReviewSettings, check_drift
from cloud.settings_operate import (
    MOST_DAYS,
    AlertSettings,
    AuthSettings,
    FallbackSettings,
    LogSettings,
    MetricSettings,
    PromiseSettings,
    RolloutTable,
    TraceSettings,
    check_auth,
    check_rollout,
)
from cloud.settings_scale import (
    BlobSettings,
    BrokerSettings,
    IngestSettings,
    KeepSettings,
    MlflowSettings,
    ProvisionSettings,
)
from contract.errors import InvalidConfig


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the HTTP API and the dashboard listen.

    `public_url` is how stations reach it, e.g. "http://10.0.0.5:8080"; "" where `host` is an address they can use. `cert_file` and
    `key_file` make it HTTPS. `device_port` is a second door for stations alone, which lets in only who holds a certificate of
    `client_ca_file`; 0: none, stations use `port`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    operator_token_file: str = "secrets/operator.token"
    inspector_token_file: str = "secrets/inspector.token"
    cert_file: str = ""
    key_file: str = ""
    device_port: int = 0
    client_ca_file: str = ""

    def url(self) -> str:
        """Return the server's address for this machine.

        One that listens on every address is asked at loopback: its certificate names that, and no certificate names 0.0.0.0.
        """
        own = {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(self.host, self.host)
        host = f"[{own}]" if ":" in own else own
        return f"{'https' if self.cert_file else 'http'}://{host}:{self.port}"


class CloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in cloud.toml. `database` is an SQLAlchemy URL, "" for SQLite in `home`."""

    home: str = "."
    database: str = ""
    keys: str = "keys"
    api: ApiSettings = ApiSettings()
    broker: BrokerSettings = BrokerSettings()
    drift: DriftSettings = DriftSettings()
    review: ReviewSettings = ReviewSettings()
    retrain: RetrainSettings = RetrainSettings()
    rollout: RolloutTable = RolloutTable()
    ingest: IngestSettings = IngestSettings()
    keep: KeepSettings = KeepSettings()
    provision: ProvisionSettings = ProvisionSettings()
    blobs: BlobSettings = BlobSettings()
    mlflow: MlflowSettings = MlflowSettings()
    auth: AuthSettings = AuthSettings()
    alerts: AlertSettings = AlertSettings()
    promises: PromiseSettings = PromiseSettings()
    fallback: FallbackSettings = FallbackSettings()
    log: LogSettings = LogSettings()
    trace: TraceSettings = TraceSettings()
    metrics: MetricSettings = MetricSettings()
    folder: Path = Path()

    def path(self, text: str) -> Path:
        """Return a path of the file as an absolute one."""
        return (self.folder / self.home / text).resolve()

    def database_url(self) -> str:
        """Return the SQLAlchemy URL."""
        return self.database or f"sqlite:///{self.path('cloud.db')}"

    def drift_policy(self) -> DriftPolicy:
        """Return when a station has drifted."""
        return DriftPolicy(
            alpha=self.drift.alpha,
            enrol_windows=self.drift.enrol_windows,
            settle_windows=self.drift.settle_windows,
            period_s=self.drift.period_s,
            min_frames=self.drift.min_frames,
            tolerance=self.drift.tolerance,
            clear_windows=self.drift.clear_windows,
        )

    def check_no_cohort(self, station: str) -> None:
        """Do nothing where a station's name is no cohort's: an alarm goes by either.

        Raises:
            InvalidConfig: it is one's.
        """
        if station in self.drift.cohorts:
            hint = "rename the cohort in cloud.toml"
            raise InvalidConfig(f"'{station}' is the name of a station and of a cohort in [drift.cohorts]", hint=hint)

    def token(self, file: str) -> str:
        """Return the token in a file.

        Raises:
            InvalidConfig: the file is missing or empty.
        """
        path = self.path(file)
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(
                f"cannot read the token file {path}", hint="make it with: plumbline-cloud init"
            ) from error
        if not token:
            raise InvalidConfig(f"the token file {path} is empty", hint="make it with: plumbline-cloud init")
        return token


def load_settings(file: Path) -> CloudSettings:
    """Return the settings in `file`.

    Raises:
        InvalidConfig: it cannot be read, is no TOML, or has a wrong key or value; the message names the key.
    """
    try:
        text = file.read_text()
    except OSError as error:
        hint = "make one with: plumbline-cloud init --home DIR"
        raise InvalidConfig(f"cannot read the config {file}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{file} is no TOML: it is not UTF-8 text") from error
    try:
        settings = msgspec.toml.decode(text, type=CloudSettings)
    except msgspec.ValidationError as error:
        raise InvalidConfig(f"{file}: {error}", hint=_nearest_key(str(error), CloudSettings)) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidConfig(f"{file} is no TOML: {error}") from error
    _check(settings, file)
    return msgspec.structs.replace(settings, folder=file.resolve().parent)


def _check(settings: CloudSettings, file: Path) -> None:
    shares = (
        ("review.audit_share", settings.review.audit_share),
        ("review.second_look", settings.review.second_look),
        ("rollout.min_agreement", settings.rollout.min_agreement),
        ("rollout.max_mix_shift", settings.rollout.max_mix_shift),
    )
    for key, value in (
        *shares,
        ("retrain.min_accuracy", settings.retrain.min_accuracy),
    ):
        if not 0.0 <= value <= 1.0:
            raise InvalidConfig(f"{file}: {key} = {value} is outside 0..1")
    if not 0.0 <= settings.retrain.drift_share < 1.0:
        hint = "a retrain needs parts to learn from"
        raise InvalidConfig(
            f"{file}: retrain.drift_share = {settings.retrain.drift_share} must be 0 or more and below 1", hint=hint
        )
    for key, port in (("api.port", settings.api.port), ("broker.port", settings.broker.port)):
        if not 0 < port < 65_536:
            raise InvalidConfig(f"{file}: {key} = {port} is no port", hint="use 1 to 65535")
    if not 0 <= settings.api.device_port < 65_536:
        raise InvalidConfig(f"{file}: api.device_port = {settings.api.device_port} is no port", hint="use 0 to 65535")
    if settings.api.device_port == settings.api.port:
        hint = "stations have a door of their own: give it another port, or 0 for none"
        raise InvalidConfig(f"{file}: api.device_port and api.port are both {settings.api.port}", hint=hint)
    broker = settings.broker
    if broker.public_shards and len(broker.public_shards) != len(broker.shards):
        hint = "name each broker twice, in the same order: as the cloud reaches it, and as stations do"
        raise InvalidConfig(f"{file}: broker.public_shards and broker.shards differ in number", hint=hint)
    if "=" in broker.client_id:
        hint = "a certificate of the stations' authority could be named like it, and end the cloud's connection"
        raise InvalidConfig(f"{file}: broker.client_id = {broker.client_id!r} has a '=' in it", hint=hint)
    if len({bool(broker.ca_file), bool(broker.cert_file), bool(broker.key_file)}) > 1:
        raise InvalidConfig(f"{file}: [broker] needs ca_file, cert_file and key_file, or none of them")
    if not 0.0 < settings.rollout.shadow_share <= 1.0:
        raise InvalidConfig(
            f"{file}: rollout.shadow_share = {settings.rollout.shadow_share} must be above 0 and at most 1"
        )
    positive = (
        ("review.labels_per_alarm", settings.review.labels_per_alarm),
        ("review.ask_again_s", settings.review.ask_again_s),
        ("rollout.probation_frames", settings.rollout.probation_frames),
        ("rollout.probation_timeout_s", settings.rollout.probation_timeout_s),
        ("rollout.silence_s", settings.rollout.silence_s),
        ("ingest.batch", settings.ingest.batch),
        ("ingest.batch_ms", settings.ingest.batch_ms),
        ("keep.fine_days", settings.keep.fine_days),
        ("keep.hourly_days", settings.keep.hourly_days),
        ("keep.daily_days", settings.keep.daily_days),
        ("keep.dead_letter_days", settings.keep.dead_letter_days),
        ("keep.dead_letters", settings.keep.dead_letters),
        ("provision.days", settings.provision.days),
        ("fallback.max_batch", settings.fallback.max_batch),
        ("fallback.deadline_ms", settings.fallback.deadline_ms),
        ("promises.days", settings.promises.days),
        ("promises.fresh_s", settings.promises.fresh_s),
        ("promises.recovery_h", settings.promises.recovery_h),
    )
    for key, value in positive:
        if not value > 0:
            raise InvalidConfig(f"{file}: {key} = {value} must be above 0")
    not_negative = (
        ("rollout.max_memory_mib", settings.rollout.max_memory_mib),
        ("rollout.serve_s", settings.rollout.serve_s),
        ("review.routine_per_day", settings.review.routine_per_day),
        ("metrics.stations", settings.metrics.stations),
        ("retrain.every_days", settings.retrain.every_days),
        ("retrain.cooldown_h", settings.retrain.cooldown_h),
        ("retrain.warm_pull", settings.retrain.warm_pull),
        ("fallback.max_wait_ms", settings.fallback.max_wait_ms),
        ("fallback.workers", settings.fallback.workers),
    )
    for key, value in not_negative:
        if not value >= 0:
            raise InvalidConfig(f"{file}: {key} = {value} must not be below 0")
    settings.alerts.check(str(file))
    try:
        check_auth(settings.auth)
    except InvalidConfig as error:
        raise InvalidConfig(f"{file}: {error.message}", hint=error.hint) from error
    if settings.log.format not in ("text", "json"):
        raise InvalidConfig(f"{file}: log.format = '{settings.log.format[:40]}'", hint='use "text" or "json"')
    check_rollout(settings.rollout, file)
    _check_operating(settings, file)
    check_drift(settings.drift, file)


def _check_operating(settings: CloudSettings, file: Path) -> None:
    if not 16.0 <= settings.fallback.max_waiting_mib < math.inf:
        hint = "one image may have 16 MiB"
        raise InvalidConfig(
            f"{file}: fallback.max_waiting_mib = {settings.fallback.max_waiting_mib} must be 16 or more", hint=hint
        )
    promises = settings.promises
    for name in ("availability", "in_time", "freshness", "recovery"):
        if not 0.0 < (share := getattr(promises, name)) < 1.0:
            hint = "a promise of all leaves no budget for anything"
            raise InvalidConfig(f"{file}: promises.{name} = {share} must be above 0 and below 1", hint=hint)
    if promises.days > MOST_DAYS:
        raise InvalidConfig(f"{file}: promises.days = {promises.days} is more than is kept ({MOST_DAYS})")


T = TypeVar("T", bound=msgspec.Struct)


def _nearest_key(message: str, root: type[T]) -> str:
    """Return a hint that names the valid key nearest to the unknown one in msgspec's message."""
    found = re.search(r"unknown field `([^`]+)`(?: - at `\$\.?([^`]*)`)?", message)
    if found is None:
        return ""
    table: type[msgspec.Struct] = root
    for level in filter(None, (found[2] or "").split(".")):
        inner = {f.name: f.type for f in msgspec.structs.fields(table)}.get(level)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            table = inner
    names = [f.name for f in msgspec.structs.fields(table) if f.name != "folder"]
    near = difflib.get_close_matches(found[1], names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(names)}"
