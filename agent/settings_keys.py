"""Every key of agent.toml: what it is called, its type and its default (`agent.settings_example` shows them all)."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from agent.ports.policy import ImagesLeave


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class SourceSettings(Section, frozen=True):
    """[source]: where frames come from."""

    kind: str = "simulated"
    fps: float = 20.0
    seed: int = 1
    folder: str = ""
    shuffle: bool = False
    loop: bool = True
    watch: bool = False
    scene: str = ""
    controls: str = ""
    height: int = 128
    width: int = 128
    device: str = ""
    pixel_format: str = ""
    url: str = ""
    pipeline: str = ""
    gst_python: str = "/usr/bin/python3"
    hardware_trigger: bool = False
    stall_s: float = 5.0


class CameraSettings(SourceSettings, frozen=True, kw_only=True):
    """[[cameras]]: one more camera."""

    name: str


class ModelSettings(Section, frozen=True):
    """[[models]]: one more model."""

    name: str
    bundle: str
    camera: str = "*"


class LineSettings(Section, frozen=True):
    """[line]: what the line asks of a verdict."""

    deadline_ms: float = 200.0
    threads: int = 1
    blank_sd: float = 0.5
    frozen_after: int = 5
    unfamiliar: float = 0.001
    queue: int = 2
    wedged_s: float = 10.0


class PlcSettings(Section, frozen=True):
    """[plc]: the line's controller, which triggers parts and takes verdicts (`agent.ports.line`)."""

    kind: str = ""
    camera: str = ""
    triggers: bool = True
    host: str = "127.0.0.1"
    port: int = 0
    delay_ms: float = 0.0
    timeout_ms: float = 0.0
    waiting: int = 4
    overlap: bool = False
    heartbeat_s: float = 1.0
    review_as: str = "review"
    stored_first: bool = False
    unit: int = 1
    topic: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class RuntimeSettings(Section, frozen=True):
    """[runtime]: where models run."""

    provider: str = "auto"
    engines_mib: int = 512
    engine_build_s: float = 1800.0


class WindowSettings(Section, frozen=True):
    """[windows]: when one closes, whichever comes first, and whether frames are sketched."""

    frames: int = 256
    seconds: float = 60.0
    sketch: bool = True


class EnrolSettings(Section, frozen=True):
    """[enrol]: how many frames make a reference."""

    frames: int = 256


class BrokerSettings(Section, frozen=True):
    """[broker]: MQTT."""

    host: str = "127.0.0.1"
    port: int = 1883
    allowed_hosts: tuple[str, ...] = ()
    resend_after_s: float = 5.0
    reconnect_max_s: float = 30.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class CloudSettings(Section, frozen=True):
    """[cloud]: HTTP."""

    url: str = ""
    token_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class PolicySettings(Section, frozen=True):
    """[policy]: which images leave, and what is kept."""

    images_leave: ImagesLeave = ImagesLeave.REQUESTED
    audit_rate: float = 0.02
    doubtful_per_window: int = 16
    fallback: bool = False
    fallback_per_s: float = 2.0
    fallback_burst: int = 10
    deferred: bool = True
    deferred_per_hour: int = 60
    deferred_mib_per_day: int = 64

    @property
    def asks_later(self) -> bool:
        """Whether kept images may leave for a later opinion: only where a second opinion is wanted at all (P8)."""
        return self.fallback and self.deferred and self.images_leave is not ImagesLeave.NEVER


class DegradeSettings(Section, frozen=True):
    """[degrade]: what is given up when, in the order of agent.decide.degrade.Rung."""

    enabled: bool = True
    hot_c: float = 0.0
    climb_s: float = 10.0
    relief_s: float = 60.0
    backlog: float = 0.05
    battery: float = 0.3


class TrustSettings(Section, frozen=True):
    """[trust]: whose bundles and orders are followed."""

    root: str = ""
    order_keys: tuple[str, ...] = ()


class BundleSettings(Section, frozen=True):
    """[bundle]: a provisioned one, and when to leave one that kills the process."""

    path: str = ""
    crash_loop: int = 5


class ApiSettings(Section, frozen=True):
    """[api]: the local REST API."""

    host: str = "127.0.0.1"
    port: int | str = "auto"
    token_file: str = ""
    max_body_mib: int = 16

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class LimitSettings(Section, frozen=True):
    """[limits]: of the disk."""

    disk_mib: int = 512
    outbox_mib: int = 64
    samples: int = 2_000
    samples_mib: int = 256
    results_rows: int = 1_000_000
    commit_s: float = 1.0


class LogSettings(Section, frozen=True):
    """[log]: of the journal on stderr."""

    format: str = "text"


class TraceSettings(Section, frozen=True):
    """[trace]: of single frames, for finding out where time goes. Needs the extra [otel]."""

    endpoint: str = ""
    share: float = 0.001


class File(Section, frozen=True):
    station: str
    home: str
    board: str = "auto"
    source: SourceSettings = SourceSettings()
    cameras: tuple[CameraSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    line: LineSettings = LineSettings()
    plc: PlcSettings = PlcSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    windows: WindowSettings = WindowSettings()
    enrol: EnrolSettings = EnrolSettings()
    broker: BrokerSettings = BrokerSettings()
    cloud: CloudSettings = CloudSettings()
    policy: PolicySettings = PolicySettings()
    degrade: DegradeSettings = DegradeSettings()
    trust: TrustSettings = TrustSettings()
    bundle: BundleSettings = BundleSettings()
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    trace: TraceSettings = TraceSettings()


class Settings(File, frozen=True):
    """What a station works with: agent.toml, and what lies under and over it.

    `folder`: where the file lies, and what relative paths start from. `profile`: the board's profile that lies under it, "" for
    none.
    """

    folder: str = ""
    profile: str = ""

    def path(self, text: str) -> Path:
        """Return the path that `text` in the file means."""
        return Path(self.folder) / Path(text).expanduser()

    @property
    def home_folder(self) -> Path:
        """The folder of everything this station keeps."""
        return self.path(self.home)
