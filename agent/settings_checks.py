"""What values of settings can work together; each problem is a sentence that begins with its key."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from agent.decide.degrade import LadderRules
from agent.decide.unfamiliar import LEAST_RATE, MOST_RATE
from agent.runtime.providers import WANTED
from agent.settings_keys import ApiSettings, Settings, SourceSettings
from contract.ids import CAMERA_PATTERN

_RELIEF_SHARE = LadderRules().backlog_relief_share
_NAME = re.compile(CAMERA_PATTERN)


def problems_of(settings: Settings) -> list[str]:
    """Return what is wrong with them, [] when they can work."""
    source, line, policy = settings.source, settings.line, settings.policy
    positive = {
        "line.deadline_ms": line.deadline_ms,
        "line.threads": line.threads,
        "line.queue": line.queue,
        "line.wedged_s": line.wedged_s,
        "runtime.engines_mib": settings.runtime.engines_mib,
        "runtime.engine_build_s": settings.runtime.engine_build_s,
        "windows.frames": settings.windows.frames,
        "windows.seconds": settings.windows.seconds,
        "enrol.frames": settings.enrol.frames,
        "broker.resend_after_s": settings.broker.resend_after_s,
        "broker.reconnect_max_s": settings.broker.reconnect_max_s,
        "degrade.climb_s": settings.degrade.climb_s,
        "degrade.relief_s": settings.degrade.relief_s,
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
    problems += _source_problems(source, "source")
    problems += _camera_problems(settings) + _plc_problems(settings)
    if line.unfamiliar != 0 and not LEAST_RATE <= line.unfamiliar <= MOST_RATE:
        problems.append(f"line.unfamiliar must be 0, or {LEAST_RATE:g} to {MOST_RATE:g}, not {line.unfamiliar:g}")
    if not 0 <= policy.audit_rate <= 1:
        problems.append(f"policy.audit_rate must be a share, 0 to 1, not {policy.audit_rate:g}")
    if not 1 <= settings.broker.port <= 65535:
        problems.append(f"broker.port must be 1 to 65535, not {settings.broker.port}")
    if settings.trust.order_keys and not settings.trust.root:
        problems.append("trust.order_keys needs trust.root too")
    if policy.fallback and not settings.cloud.url:
        problems.append("policy.fallback needs cloud.url")
    if not _RELIEF_SHARE < settings.degrade.backlog < 1:
        problems.append(f"degrade.backlog must be a share, {_RELIEF_SHARE:g} to 1, not {settings.degrade.backlog:g}")
    if settings.bundle.crash_loop < 0:
        problems.append(f"bundle.crash_loop must be 0 or more, not {settings.bundle.crash_loop}")
    if policy.deferred_per_hour < 2:
        problems.append(f"policy.deferred_per_hour must be 2 or more, not {policy.deferred_per_hour}")
    if policy.deferred_mib_per_day < 1:
        problems.append(f"policy.deferred_mib_per_day must be 1 or more, not {policy.deferred_mib_per_day}")
    if settings.log.format not in ("text", "json"):
        problems.append(f'log.format must be "text" or "json", not \'{settings.log.format[:40]}\'')
    if not 0 <= settings.trace.share <= 1:
        problems.append(f"trace.share must be a share, 0 to 1, not {settings.trace.share:g}")
    problems += _api_problems(settings.api) + _tls_problems(settings)
    named = {problem.split(" ", 1)[0] for problem in problems}
    return problems + [
        f"{key} is {value}, and that is no number to work with"
        for key, value in _endless(msgspec.to_builtins(settings), "")
        if key not in named
    ]


def _endless(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """Find what TOML may write and no clock can wait for: inf and nan."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    for name, each in value.items() if isinstance(value, dict) else ():
        yield from _endless(each, f"{key}.{name}" if key else name)


def _tls_problems(settings: Settings) -> list[str]:
    problems = []
    for section, keys in (("broker", settings.broker), ("cloud", settings.cloud)):
        if keys.cert_file and not keys.key_file:
            problems.append(f"{section}.cert_file needs {section}.key_file beside it")
        if keys.key_file and not keys.cert_file:
            problems.append(f"{section}.key_file needs {section}.cert_file beside it")
    broker, cloud = settings.broker, settings.cloud
    if broker.cert_file and not broker.ca_file:
        problems.append(
            "broker.cert_file needs broker.ca_file: a station shows itself only to a broker that it can check"
        )
    if (cloud.ca_file or cloud.cert_file) and not cloud.url.startswith("https://"):
        problems.append("cloud.url must begin with https:// where cloud.ca_file or cloud.cert_file is set")
    return problems


def _plc_problems(settings: Settings) -> list[str]:
    plc, problems = settings.plc, []
    if plc.kind not in ("", "modbus", "opcua", "mqtt"):
        problems.append(f"plc.kind must be 'modbus', 'opcua', 'mqtt' or \"\", not '{plc.kind[:40]}'")
    if plc.camera not in ("", *(camera.name for camera in settings.cameras)):
        problems.append(f"plc.camera '{plc.camera[:40]}' is no camera of this station")
    if not plc.host:
        problems.append("plc.host must name where to listen, or the broker")
    if not 0 <= plc.port <= 65535:
        problems.append(f"plc.port must be 0 to 65535, not {plc.port}")
    for name, value, least, most in (
        ("delay_ms", plc.delay_ms, 0, 10_000),
        ("timeout_ms", plc.timeout_ms, 0, 600_000),
        ("waiting", plc.waiting, 1, 64),
        ("heartbeat_s", plc.heartbeat_s, 0.05, 60),
        ("unit", plc.unit, 0, 247),
    ):
        if not least <= value <= most:
            problems.append(f"plc.{name} must be {least:g} to {most:g}, not {value:g}")
    if 0 < plc.timeout_ms <= plc.delay_ms:
        problems.append(f"plc.timeout_ms must be above plc.delay_ms, not {plc.timeout_ms:g}")
    camera = {each.name: each for each in settings.cameras}.get(plc.camera, settings.source)
    if plc.kind and plc.triggers and plc.delay_ms > 0 and camera.hardware_trigger:
        problems.append("plc.delay_ms is for a camera that runs freely: with hardware_trigger it must be 0")
    if plc.overlap and not (plc.kind and plc.triggers and camera.hardware_trigger):
        problems.append(
            "plc.overlap is for a camera with hardware_trigger whose parts the controller triggers: leave it out"
        )
    if plc.kind and plc.triggers and camera.kind == "folder" and camera.watch:
        section = f"cameras '{plc.camera}'" if plc.camera else "source"
        problems.append(
            f"plc.triggers must be false with {section}.watch: an image that is written late would be the next part's;"
            " tell verdicts by their part, or read the camera itself"
        )
    if plc.review_as not in ("review", "reject"):
        problems.append(f"plc.review_as must be 'review' or 'reject', not '{plc.review_as[:40]}'")
    if bool(plc.cert_file) != bool(plc.key_file):
        problems.append("plc.cert_file and plc.key_file go together")
    return problems


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


def _source_problems(source: SourceSettings, section: str) -> list[str]:
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
        return [f"{section}.kind must be {', '.join(most)} or {last}, not '{source.kind}'"]
    problems = []
    key, what = needs[source.kind]
    if not getattr(source, key):
        problems.append(f"{section}.{key} {what}")
    if source.hardware_trigger and source.kind not in ("v4l2", "gstreamer"):
        problems.append(f"{section}.hardware_trigger is for 'v4l2' and 'gstreamer', not '{source.kind}'")
    if not 0 <= source.stall_s <= 3600:
        problems.append(f"{section}.stall_s must be 0 to 3600 seconds, not {source.stall_s:g}")
    if not source.fps >= 0:
        problems.append(f"{section}.fps must be 0 or more, not {source.fps:g}")
    if source.height <= 0 or source.width <= 0:
        problems.append(f"{section}.height and width must be above 0, not {source.height} and {source.width}")
    return problems


def _camera_problems(settings: Settings) -> list[str]:
    problems, names = [], [""]
    for camera in settings.cameras:
        if not _NAME.fullmatch(camera.name):
            problems.append(f"cameras.name must be 1 to 32 of a-z, 0-9 and '-', not '{camera.name[:40]}'")
        names.append(camera.name)
        problems += _source_problems(camera, f"cameras '{camera.name}'")
    if len(set(names)) < len(names):
        problems.append("two cameras have the same name")
    for model in settings.models:
        if not _NAME.fullmatch(model.name):
            problems.append(f"models.name must be 1 to 32 of a-z, 0-9 and '-', not '{model.name[:40]}'")
        if not model.bundle:
            problems.append(f"model '{model.name}' names no bundle")
        if model.camera not in ("*", *names):
            problems.append(f"model '{model.name}' looks through camera '{model.camera}', which is not there")
    if len({model.name for model in settings.models}) < len(settings.models):
        problems.append("two models have the same name")
    return problems
