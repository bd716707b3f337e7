"""agent.toml: the only file of the agent that reads configuration."""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec

from agent.ports.policy import ImagesLeave
from agent.runtime.providers import WANTED
from contract.errors import InvalidConfig
from contract.ids import check_station_id

# `plumbline-agent run --help` prints this, and a test checks that it parses and that every key of the sections is in it.
EXAMPLE = """\
station = "line3-cam1"
home = "state"                # where results, bundles and kept images live

[source]
kind = "simulated"            # or "folder", "v4l2", "rtsp", "gstreamer"
fps = 20.0                    # 0: as fast as it goes; a camera keeps its own rate
seed = 1                      # simulated: which parts; folder: which order when shuffled
folder = ""                   # folder: images to read
shuffle = false               # folder: anew on each lap
loop = true                   # folder: begin again at the end
watch = false                 # folder: wait for new files (then loop = false)
scene = ""                    # simulated: a folder of real images, instead of generated surfaces
controls = ""                 # simulated: a file of exposure, defocus, ..., followed while running
height = 128                  # simulated and v4l2
width = 128
device = ""                   # v4l2: best a link below /dev/v4l/by-id
pixel_format = ""             # v4l2: "GREY", "YUYV", "MJPG", "BGR3" or "RGB3"; "": the first of them that it has
url = ""                      # rtsp: e.g. "rtsp://user:password@10.0.0.20:554/stream1"
pipeline = ""                 # gstreamer: as for gst-launch-1.0, e.g. "nvarguscamerasrc ! nvvidconv ! video/x-raw"
gst_python = "/usr/bin/python3"  # gstreamer: the Python that has gi, which pip cannot install
hardware_trigger = false      # v4l2, gstreamer: each image is a trigger; silence is no fault
stall_s = 5.0                 # cameras: silent for this long is lost; 0: never

[line]
deadline_ms = 200.0           # a later verdict is REVIEW
threads = 1                   # of the model's runtime
blank_sd = 0.5                # grey levels; less spread is a blank frame
frozen_after = 5              # identical frames in a row; 0: never

[runtime]
provider = "auto"             # "cpu", "cuda", "tensorrt", or "auto": the fastest that is there and that the bundle allows
engines_mib = 512             # TensorRT engines kept beside those in use
engine_build_s = 1800.0       # a TensorRT build that takes longer is killed; the present session serves meanwhile

[windows]
frames = 256
seconds = 60.0

[enrol]
frames = 256

[broker]
host = "127.0.0.1"            # "": no uplink
port = 1883
resend_after_s = 5.0
reconnect_max_s = 30.0

[cloud]
url = ""                      # e.g. "http://10.0.0.5:8080"; "": no updates, fallback or uploads
token_file = ""

[policy]
images_leave = "requested"    # "never", "unsure" or "requested"
audit_rate = 0.02             # share of frames kept at random for review
doubtful_per_window = 16      # most unsure and REVIEW frames kept of a window
fallback = false              # ask the cloud's model about unsure frames
fallback_per_s = 2.0
fallback_burst = 10

[trust]
root = ""                     # pinned TUF root.json
order_keys = []               # pinned order keys

[bundle]
path = ""                     # a .plb to start with

[api]
host = "127.0.0.1"            # where the local API listens; beyond loopback it needs token_file
port = "auto"                 # "auto": 8081 where that is free; a number: that one, or no start; 0: no local API
token_file = ""               # whoever asks must send it: Authorization: Bearer TOKEN
max_body_mib = 16             # of an image sent to /v1/infer

[limits]
disk_mib = 512                # results, waiting summaries and kept images together; least valued go first
outbox_mib = 64               # of it, at most a quarter
samples = 2000
samples_mib = 256             # of it, at most half
results_rows = 1000000
commit_s = 1.0                # what a crash may lose, told as undecided; shorter wears flash out sooner
"""

_PATH = re.compile(r" - at `\$(.*?)`$")
_UNKNOWN = re.compile(r"unknown field `(.+?)`")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class SourceSettings(_Section, frozen=True):
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


class LineSettings(_Section, frozen=True):
    """[line]: what the line asks of a verdict."""

    deadline_ms: float = 200.0
    threads: int = 1
    blank_sd: float = 0.5
    frozen_after: int = 5


class RuntimeSettings(_Section, frozen=True):
    """[runtime]: where models run."""

    provider: str = "auto"
    engines_mib: int = 512
    engine_build_s: float = 1800.0


class WindowSettings(_Section, frozen=True):
    """[windows]: when one closes, whichever comes first."""

    frames: int = 256
    seconds: float = 60.0


class EnrolSettings(_Section, frozen=True):
    """[enrol]: how many frames make a reference."""

    frames: int = 256


class BrokerSettings(_Section, frozen=True):
    """[broker]: MQTT."""

    host: str = "127.0.0.1"
    port: int = 1883
    resend_after_s: float = 5.0
    reconnect_max_s: float = 30.0


class CloudSettings(_Section, frozen=True):
    """[cloud]: HTTP."""

    url: str = ""
    token_file: str = ""


class PolicySettings(_Section, frozen=True):
    """[policy]: which images leave, and what is kept."""

    images_leave: ImagesLeave = ImagesLeave.REQUESTED
    audit_rate: float = 0.02
    doubtful_per_window: int = 16
    fallback: bool = False
    fallback_per_s: float = 2.0
    fallback_burst: int = 10


class TrustSettings(_Section, frozen=True):
    """[trust]: whose bundles and orders are followed."""

    root: str = ""
    order_keys: tuple[str, ...] = ()


class BundleSettings(_Section, frozen=True):
    """[bundle]: a provisioned one."""

    path: str = ""


class ApiSettings(_Section, frozen=True):
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


class LimitSettings(_Section, frozen=True):
    """[limits]: of the disk."""

    disk_mib: int = 512
    outbox_mib: int = 64
    samples: int = 2_000
    samples_mib: int = 256
    results_rows: int = 1_000_000
    commit_s: float = 1.0


class _File(_Section, frozen=True):
    station: str
    home: str
    source: SourceSettings = SourceSettings()
    line: LineSettings = LineSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    windows: WindowSettings = WindowSettings()
    enrol: EnrolSettings = EnrolSettings()
    broker: BrokerSettings = BrokerSettings()
    cloud: CloudSettings = CloudSettings()
    policy: PolicySettings = PolicySettings()
    trust: TrustSettings = TrustSettings()
    bundle: BundleSettings = BundleSettings()
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()


class Settings(_File, frozen=True):
    """agent.toml as it was read; `folder` is where it lies, and what relative paths start from."""

    folder: str = ""

    def path(self, text: str) -> Path:
        """Return the path that `text` in the file means."""
        return Path(self.folder) / Path(text).expanduser()

    @property
    def home_folder(self) -> Path:
        """The folder of everything this station keeps."""
        return self.path(self.home)


def load_settings(path: Path) -> Settings:
    """Return the settings in the file at `path`.

    Raises:
        InvalidConfig: it cannot be read, is no TOML, has an unknown key, or a value that cannot work.
    """
    try:
        payload = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidConfig(f"no config file '{path}'", hint="plumbline-agent run --help shows an example") from error
    except OSError as error:
        raise InvalidConfig(f"'{path}' cannot be read: {error.strerror or error}") from error
    try:
        read = msgspec.toml.decode(payload, type=_File)
    except msgspec.ValidationError as error:
        raise _explain(str(error), path, payload.decode(errors="replace")) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidConfig(f"'{path}' is no TOML: {error}") from error
    values: dict[str, Any] = {name: getattr(read, name) for name in _File.__struct_fields__}
    settings = Settings(**values, folder=str(path.resolve().parent))
    _check(settings, path)
    return settings


def _check(settings: Settings, path: Path) -> None:
    check_station_id(settings.station)
    source, line, policy = settings.source, settings.line, settings.policy
    positive = {
        "line.deadline_ms": line.deadline_ms,
        "line.threads": line.threads,
        "runtime.engines_mib": settings.runtime.engines_mib,
        "runtime.engine_build_s": settings.runtime.engine_build_s,
        "windows.frames": settings.windows.frames,
        "windows.seconds": settings.windows.seconds,
        "enrol.frames": settings.enrol.frames,
        "source.height": source.height,
        "source.width": source.width,
        "broker.resend_after_s": settings.broker.resend_after_s,
        "broker.reconnect_max_s": settings.broker.reconnect_max_s,
        "limits.outbox_mib": settings.limits.outbox_mib,
        "limits.samples": settings.limits.samples,
        "limits.samples_mib": settings.limits.samples_mib,
        "limits.results_rows": settings.limits.results_rows,
        "limits.disk_mib": settings.limits.disk_mib,
        "limits.commit_s": settings.limits.commit_s,
    }
    problems = [f"{key} must be above 0, not {value:g}" for key, value in positive.items() if not value > 0]
    if 0 < settings.limits.disk_mib < 16:
        problems.append(f"limits.disk_mib must be 16 or more, not {settings.limits.disk_mib}")
    if not settings.home:
        problems.append("home must name a folder")
    if settings.runtime.provider not in WANTED:
        problems.append(f"runtime.provider must be one of {', '.join(WANTED)}, not '{settings.runtime.provider[:40]}'")
    problems += _source_problems(source)
    if not source.fps >= 0:
        problems.append(f"source.fps must be 0 or more, not {source.fps:g}")
    if not 0 <= policy.audit_rate <= 1:
        problems.append(f"policy.audit_rate must be a share, 0 to 1, not {policy.audit_rate:g}")
    if not 1 <= settings.broker.port <= 65535:
        problems.append(f"broker.port must be 1 to 65535, not {settings.broker.port}")
    if settings.trust.order_keys and not (settings.trust.root and settings.cloud.url):
        problems.append("trust.order_keys needs trust.root and cloud.url too")
    if policy.fallback and not settings.cloud.url:
        problems.append("policy.fallback needs cloud.url")
    problems += _api_problems(settings.api)
    if problems:
        raise InvalidConfig(f"'{path}': {problems[0]}", hint="plumbline-agent run --help shows every key")


def _api_problems(api: ApiSettings) -> list[str]:
    problems = []
    if isinstance(api.port, str):
        if api.port != "auto":
            problems.append(f"api.port must be \"auto\" or a number, not '{api.port[:40]}'")
    elif not 0 <= api.port <= 65535:
        problems.append(f"api.port must be 0 to 65535, not {api.port}")
    if not 0 < api.max_body_mib <= 256:
        problems.append(f"api.max_body_mib must be 1 to 256, not {api.max_body_mib}")
    if api.port != 0 and not api.on_loopback and not api.token_file:
        problems.append(
            f"api.host = '{api.host[:80]}' can be reached from other machines, so api.token_file must be set"
        )
    return problems


def _source_problems(source: SourceSettings) -> list[str]:
    # What each kind needs, and what is said when it is missing.
    needs = {
        "simulated": ("kind", ""),
        "folder": ("folder", "must name a folder of images"),
        "v4l2": ("device", "must name a camera, e.g. /dev/v4l/by-id/..."),
        "rtsp": ("url", "must be the camera's rtsp:// address"),
        "gstreamer": ("pipeline", "must hold a pipeline, as for gst-launch-1.0"),
    }
    if source.kind not in needs:
        *most, last = (f"'{kind}'" for kind in needs)
        return [f"source.kind must be {', '.join(most)} or {last}, not '{source.kind}'"]
    problems = []
    key, what = needs[source.kind]
    if not getattr(source, key):
        problems.append(f"source.{key} {what}")
    if source.hardware_trigger and source.kind not in ("v4l2", "gstreamer"):
        problems.append(f"source.hardware_trigger is for 'v4l2' and 'gstreamer', not '{source.kind}'")
    if not 0 <= source.stall_s <= 3600:
        problems.append(f"source.stall_s must be 0 to 3600 seconds, not {source.stall_s:g}")
    return problems


def _explain(text: str, path: Path, source: str) -> InvalidConfig:
    """Return msgspec's complaint in a person's words: the key, its line, and the key that was probably meant."""
    match = _PATH.search(text)
    section = match[1].lstrip(".") if match else ""
    what = _PATH.sub("", text)
    unknown = _UNKNOWN.search(text)
    if unknown is None:
        missing = re.search(r"missing required field `(.+?)`", text)
        where = f" (line {_line_of(source, section)})" if section and _line_of(source, section) else ""
        message = f"'{path}'{where}: {section + ': ' if section else ''}{what[0].lower() + what[1:]}"
        hint = f'add it, e.g. {missing[1]} = "..."' if missing else "plumbline-agent run --help shows every key"
        return InvalidConfig(message, hint=hint)
    key = unknown[1]
    known = _keys_of(section)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    full = f"{section}.{key}" if section else key
    line = _line_of(source, full)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"the keys here are {', '.join(sorted(known))}"
    return InvalidConfig(f"'{path}'{f' line {line}' if line else ''}: unknown key '{full}'", hint=hint)


def _keys_of(section: str) -> list[str]:
    kind: Any = _File
    for name in filter(None, section.split(".")):
        found = [field.type for field in msgspec.structs.fields(kind) if field.name == name]
        if not found or not isinstance(found[0], type) or not issubclass(found[0], msgspec.Struct):
            return []
        kind = found[0]
    return [field.name for field in msgspec.structs.fields(kind)]


def _line_of(source: str, full: str) -> int:
    """Return the line of key `a.b` (or section `a`) in TOML text, 0 when it is not found."""
    section, _, key = full.rpartition(".")
    current = ""
    for number, line in enumerate(source.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            current = header[1]
            if current == full:
                return number
        elif current == section and re.match(rf"\s*['\"]?{re.escape(key)}['\"]?\s*[=.]", line):
            return number
    return 0
