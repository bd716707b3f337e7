"""Every key of agent.toml: what it is called, its default, and an example that shows them all."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from agent.ports.policy import ImagesLeave

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
queue = 2                     # frames of a camera that may wait for the model; then the oldest gives way
wedged_s = 10.0               # a camera or a model that does not answer for so long is restarted

[runtime]
provider = "auto"             # "cpu", "cuda", "tensorrt", or "auto": the fastest that is there and that the bundle allows
engines_mib = 512             # TensorRT engines kept beside those in use
engine_build_s = 1800.0       # a TensorRT build that takes longer is killed; the present session serves meanwhile

[windows]
frames = 256
seconds = 60.0
sketch = true                 # false: this station's drift is not watched

[enrol]
frames = 256

[broker]
host = "127.0.0.1"            # "": no uplink
port = 1883
allowed_hosts = []            # other brokers that an order may choose as host
resend_after_s = 5.0
reconnect_max_s = 30.0
ca_file = ""                  # PEM: speak TLS with the broker, and believe only what this authority signed
cert_file = ""                # PEM: this station's certificate, and its key
key_file = ""

[cloud]
url = ""                      # e.g. "http://10.0.0.5:8080"; "": no updates, fallback or uploads
token_file = ""               # also signs what this station says it gave up
ca_file = ""                  # PEM: the authority that signed the cloud's certificate; "": the system's
cert_file = ""
key_file = ""

[policy]
images_leave = "requested"    # "never", "unsure" or "requested"
audit_rate = 0.02             # share of frames kept at random for review
doubtful_per_window = 16      # most unsure, REVIEW and novel frames kept of a window; a quarter for novel ones
fallback = false              # ask the cloud's model about unsure frames: they leave without being requested
fallback_per_s = 2.0
fallback_burst = 10
deferred = true               # with fallback: ask it later too, about kept frames it had no time for; the verdict stands
deferred_per_hour = 60        # most images asked about in any hour
deferred_mib_per_day = 64     # most that they may weigh in any day, a quarter of it at once

[trust]
root = ""                     # pinned TUF root.json
order_keys = []               # pinned order keys

[bundle]
path = ""                     # a .plb to start with
crash_loop = 5                # deaths in a row within ten minutes of a start; then the bundle before it runs; 0: never

[degrade]
enabled = true                # give things up step by step under heat, low power or backlog, rather than fail at once
hot_c = 0.0                   # 0: by the board's own trip points, 4 degrees before it slows itself down
climb_s = 10.0                # pressure for so long gives up one thing more
relief_s = 60.0               # none for so long takes one back
backlog = 0.05                # share of frames dropped because the model is busy
battery = 0.3                 # discharging below this share is low power

# More cameras of this station: the keys of [source], and a name. The first camera is [source] itself.
#[[cameras]]
#name = "left"
#kind = "rtsp"
#url = "rtsp://10.0.0.21/stream1"

# Models that look on beside the bundle in charge; a part passes when all of them pass it. `plumbline-agent reload` reads them anew.
#[[models]]
#name = "foreign-parts"
#bundle = "foreign.plb"
#camera = "*"                 # every camera, or the name of one ("" is the first)

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

[log]
format = "text"               # or "json": one object a line

[trace]
endpoint = ""                 # of an OpenTelemetry collector, e.g. "http://10.0.0.5:4318/v1/traces"; "": nothing is traced
share = 0.001                 # of frames, drawn at random
"""


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
    queue: int = 2
    wedged_s: float = 10.0


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
    source: SourceSettings = SourceSettings()
    cameras: tuple[CameraSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    line: LineSettings = LineSettings()
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
    """agent.toml as it was read; `folder` is where it lies, and what relative paths start from."""

    folder: str = ""

    def path(self, text: str) -> Path:
        """Return the path that `text` in the file means."""
        return Path(self.folder) / Path(text).expanduser()

    @property
    def home_folder(self) -> Path:
        """The folder of everything this station keeps."""
        return self.path(self.home)
