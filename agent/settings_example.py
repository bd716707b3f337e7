"""An agent.toml that shows every key with its default and what it is for.

The comments here are the one source of what a key is for: `config explain` and the JSON Schema take them from here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

# `plumbline-agent run --help` prints this, and a test checks that it parses and that every key of the sections is in it.
EXAMPLE = """\
station = "line3-cam1"        # who it is: its topic, its certificate and its orders carry this name
home = "state"                # where results, bundles and kept images live
board = "auto"                # whose profile lies under this file: "auto" (what this machine is), "none", or its name

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
width = 128                   # simulated and v4l2
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
unfamiliar = 0.001            # most good frames refused as unlike what was enrolled, learnt from 2 / this frames after it; 0: none
queue = 2                     # frames of a camera that may wait for the model; then the oldest gives way
wedged_s = 10.0               # a camera or a model that does not answer for so long is restarted

[plc]
kind = ""                     # the line's controller speaks "modbus", "opcua" or "mqtt"; "": there is none
camera = ""                   # whose parts it triggers and whose verdicts it gets; "" is the first camera
triggers = true               # false: the camera says when a part is there, and the controller only gets verdicts
host = "127.0.0.1"            # modbus, opcua: where to listen; mqtt: the line's broker
port = 0                      # 0: 502 (modbus), 4840 (opcua), 1883 or with ca_file 8883 (mqtt)
delay_ms = 0.0                # a trigger means the first frame that arrives so long after it: a frame's time, and a camera's lag
timeout_ms = 0.0              # a trigger without a verdict for so long is answered as failed; 0: line.deadline_ms and a quarter
waiting = 4                   # triggers that may wait for their verdicts; one more is refused
overlap = false               # hardware_trigger: true takes a trigger before the last image came; a missed one shifts verdicts
heartbeat_s = 1.0             # the station shows that it lives so often; the controller treats three missed as no verdict
review_as = "review"          # or "reject", for a gate that has two ways only
stored_first = false          # true: a verdict is told once its record is on the disk, so that a power cut takes no told one
unit = 1                      # modbus: the unit identifier it answers to; 0: any
topic = ""                    # mqtt: what its topics begin with; "": "line/" and the station's name
ca_file = ""                  # mqtt: PEM; opcua: a folder of the certificates that are trusted
cert_file = ""                # mqtt, opcua: this station's certificate, and its key; opcua then takes encrypted sessions only
key_file = ""                 # mqtt, opcua: the key of cert_file

[runtime]
provider = "auto"             # "cpu", "cuda", "tensorrt", or "auto": the fastest that is there and that the bundle allows
engines_mib = 512             # TensorRT engines kept beside those in use
engine_build_s = 1800.0       # a TensorRT build that takes longer is killed; the present session serves meanwhile

[windows]
frames = 256                  # a window is closed after so many frames, or after seconds, whichever comes first
seconds = 60.0                # see frames
sketch = true                 # false: this station's drift is not watched, and not even a mean of its frames leaves

[enrol]
frames = 256                  # so many make the reference that drift is measured against

[broker]
host = "127.0.0.1"            # "": no uplink
port = 1883                   # 1883, or 8883 with ca_file
allowed_hosts = []            # other brokers that an order may choose as host
resend_after_s = 5.0          # a summary that the server has not acknowledged for so long is sent again
reconnect_max_s = 30.0        # tries to reach it lie at most so far apart
ca_file = ""                  # PEM: speak TLS with the broker, and believe only what this authority signed
cert_file = ""                # PEM: this station's certificate, and its key
key_file = ""                 # the key of cert_file

[cloud]
url = ""                      # e.g. "http://10.0.0.5:8080"; "": no updates, fallback or uploads
token_file = ""               # also signs what this station says it gave up
ca_file = ""                  # PEM: the authority that signed the cloud's certificate; "": the system's
cert_file = ""                # PEM: this station's certificate, where the cloud asks for one, and its key
key_file = ""                 # the key of cert_file

[policy]
images_leave = "requested"    # "never", "unsure" or "requested"
audit_rate = 0.02             # share of frames kept at random for review
doubtful_per_window = 16      # most unsure, REVIEW and novel frames kept of a window; a quarter for novel ones
fallback = false              # ask the cloud's model about unsure frames: they leave without being requested
fallback_per_s = 2.0          # most questions a second, over time
fallback_burst = 10           # most questions at once
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
enabled = true                # give things up step by step under heat, low power, little memory or backlog, rather than fail
hot_c = 0.0                   # 0: by the board's own trip points, 4 degrees before it slows itself down
climb_s = 10.0                # pressure for so long gives up one thing more
relief_s = 60.0               # none for so long takes one back
backlog = 0.05                # share of frames dropped because the model is busy
battery = 0.3                 # discharging below this share is low power

# More cameras of this station: the keys of [source], and a name. The first camera is [source] itself.
#[[cameras]]
#name = "left"                # 1 to 32 of a-z, 0-9 and -; it stands in results and topics
#kind = "rtsp"
#url = "rtsp://10.0.0.21/stream1"

# Models that look on beside the bundle in charge; a part passes when all of them pass it. `plumbline-agent reload` reads them anew.
#[[models]]
#name = "foreign-parts"       # 1 to 32 of a-z, 0-9 and -
#bundle = "foreign.plb"       # the model, signed like any other
#camera = "*"                 # every camera, or the name of one ("" is the first)

[api]
host = "127.0.0.1"            # where the local API listens; beyond loopback it needs token_file
port = "auto"                 # "auto": 8081 where that is free; a number: that one, or no start; 0: no local API
token_file = ""               # whoever asks must send it: Authorization: Bearer TOKEN
max_body_mib = 16             # of an image sent to /v1/infer

[limits]
disk_mib = 512                # results, waiting summaries and kept images together; least valued go first
outbox_mib = 64               # of it, at most a quarter
samples = 2000                # most kept images
samples_mib = 256             # of it, at most half
results_rows = 1000000        # most results kept, a row a frame; the oldest go first
commit_s = 1.0                # what a crash may lose, told as undecided; shorter wears flash out sooner

[log]
format = "text"               # or "json": one object a line

[trace]
endpoint = ""                 # of an OpenTelemetry collector, e.g. "http://10.0.0.5:4318/v1/traces"; "": nothing is traced
share = 0.001                 # of frames, drawn at random
"""

_HEADER = re.compile(r"#?\[\[?([a-z_]+)\]\]?$")
_KEY = re.compile(r"#?([a-z_]+) = ((?:\"(?:[^\"\\]|\\.)*\"|[^#\"])*?)\s*(?:#\s*(.*))?$")


@dataclass(frozen=True, slots=True)
class Described:
    """One key: the example's value as TOML text, and what it is for, "" where its name says it."""

    value: str
    words: str


@cache
def described() -> Mapping[str, Described]:
    """Return every key of the example, as `section.key`; also those of [[cameras]] and [[models]], which are commented out.

    A list of tables itself is for what the comment above it says.
    """
    found: dict[str, Described] = {}
    section = above = ""
    for line in EXAMPLE.splitlines():
        header = _HEADER.match(line)
        if header:
            section = header[1]
            if "[[" in line:
                found[section] = Described("[]", above)
            continue
        above = line.removeprefix("# ") if line.startswith("# ") else ""
        key = _KEY.match(line)
        if key:
            name = f"{section}.{key[1]}" if section else key[1]
            found.setdefault(name, Described(key[2], key[3] or ""))
    return MappingProxyType(found)


def words_of(key: str) -> str:
    """Return what `section.key` is for; a key of [[cameras]] is for what the same key of [source] is for."""
    known = described()
    if key.startswith("cameras.") and not (key in known and known[key].words):
        key = key.replace("cameras.", "source.", 1)
    return known[key].words if key in known else ""
