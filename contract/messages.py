"""Everything that crosses the wire, one Struct a message (DESIGN 5).

Summaries travel as msgpack, control messages as JSON (`contract.codec`). Every field added after version 1 has a default,
so an old reader ignores it and a new reader fills it in; a field is never renamed or reused. Times named `*_at` are Unix
seconds, UTC, as the sender's clock had them. Numbers out of their bounds (`contract.bounds`) do not decode.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from contract.bounds import CameraName, Celsius, Count, Deviations, Moment, Seconds, Share
from contract.sketches.window import WindowWire

WIRE_VERSION = 1


class Verdict(str, Enum):
    """The answer given to the line. REVIEW is the answer to unsure, late and broken; never PASS."""

    PASS = "PASS"
    REJECT = "REJECT"
    REVIEW = "REVIEW"


class Header(msgspec.Struct, frozen=True):
    """Who says it, which of its messages this is, and what it was running.

    `boot` is made with the outbox file (and made anew when that is restored or cloned), `seq` counts from 1 within it, over
    all cameras of the station. `camera` names the one whose frames it is about; "" is the station's only or first.
    """

    station: str
    boot: str
    seq: Count
    started_at: Moment
    ended_at: Moment
    monotonic_s: Seconds
    clock_synced: bool
    bundle: str
    v: int = WIRE_VERSION
    camera: CameraName = ""


class Accounting(msgspec.Struct, frozen=True):
    """Frames of one window, by fate. The law: captured == decided + sum(dropped) + undecided (DESIGN 3).

    `review` counts REVIEW verdicts by cause. `undecided` are frames captured whose verdict was never recorded (a crash).
    """

    captured: Count = 0
    passed: Count = 0
    rejected: Count = 0
    review: dict[str, Count] = {}
    dropped: dict[str, Count] = {}
    undecided: Count = 0
    asked_cloud: Count = 0
    cloud_answers: Count = 0

    @property
    def decided(self) -> int:
        """Frames given a verdict."""
        return self.passed + self.rejected + sum(self.review.values())

    def closes(self) -> bool:
        """Return whether every captured frame is accounted for."""
        return self.captured == self.decided + sum(self.dropped.values()) + self.undecided


class SampleNote(msgspec.Struct, frozen=True):
    """A frame the station kept: the cloud may ask for its pixels, policy allowing.

    `sample` is unique over all cameras of all stations (`contract.ids.sample_name`). `reason` is "audit" (drawn at random with
    probability `inclusion`), "hard" (unsure), "review" (verdict REVIEW) or "novel" (unlike what the camera enrolled). `novelty`
    says how unlike: about 1 for an ordinary enrolled frame, 0 where the station could not say.
    """

    sample: str
    captured_at: Moment
    part: str
    label: str
    confidence: Share
    verdict: str
    reason: str
    inclusion: Share
    novelty: Deviations = 0.0


class ShadowNote(msgspec.Struct, frozen=True):
    """How a candidate bundle decided the frames it saw beside the one in charge, and what it cost.

    All counts are of the trial so far: the newest note of a trial says it all, and notes are never added up.
    `verdicts` and `incumbent` count verdicts on the same frames. `mean_ms`: of the candidate's own time; `memory_mib`: what
    the process grew by when it was loaded; `failed`: frames it could not decide.
    """

    bundle: str
    deployment: str
    frames: Count
    agreed: Count
    verdicts: dict[str, Count] = {}
    incumbent: dict[str, Count] = {}
    failed: Count = 0
    mean_ms: Seconds = 0.0
    memory_mib: Seconds = 0.0


class OpinionsNote(msgspec.Struct, frozen=True):
    """Second opinions that came after their verdicts, since the summary before that told of any (DESIGN 3).

    `queued` frames were put aside to be asked about; `answered` were judged by the cloud's full-precision model, by the
    thresholds of the bundle that had judged them: it would have `passed`, `rejected`, or been `unsure` itself, and it named
    the same label as the station for `agreed` of them; `gone` got no opinion, by reason. Verdicts already given stand, and
    the accounting does not change. Over all summaries of a station queued == answered + sum(gone) + those still waiting.
    """

    queued: Count = 0
    answered: Count = 0
    passed: Count = 0
    rejected: Count = 0
    unsure: Count = 0
    agreed: Count = 0
    gone: dict[str, Count] = {}


class GapNote(msgspec.Struct, frozen=True):
    """What a station gave up for good: the sketches of `windows` windows, and `why`. The counts are in the accounting.

    `signature` proves that the station said so itself (`contract.gaps`): whoever else could say it could hide a loss. "" where
    the station has no token to sign with.
    """

    windows: Count
    why: str
    signature: str = ""


class HealthNote(msgspec.Struct, frozen=True):
    """How the station itself fared when this window closed. What it cannot read is None, or 0 where that is no value.

    `memory_mib`: of the agent's process. `hottest_c` and `limit_c`: the thermal zone nearest to its limit, and that limit.
    `rung`: how far down the degrade ladder. `disk_free_mib`: on the disk of its home. `outbox`: summaries not acknowledged.
    `low_power`: its supply gives too little. `power_w`: what its board takes. `free_memory_mib`: what it may still take of memory.
    `disk_worn`: the share of its life that the most worn disk has used, beyond 1 when it is past that. `unfamiliar`: of the frames
    of a day, the share refused as unlike what was enrolled, by the camera that refuses most; None while they are too few.
    """

    memory_mib: Seconds = 0.0
    hottest_c: Celsius | None = None
    limit_c: Celsius | None = None
    throttled: bool = False
    rung: Count = 0
    disk_free_mib: Count = 0
    outbox: Count = 0
    low_power: bool = False
    power_w: Seconds | None = None
    free_memory_mib: Seconds | None = None
    disk_worn: Seconds | None = None
    unfamiliar: Share | None = None


class Summary(msgspec.Struct, frozen=True):
    """What a station ships of its windows. `trace` is the W3C traceparent of the newest frame in it that is traced, "" for none.

    `window` is None when the sketches were lost with the process (`note` says so).

    `covers` are the sequence ranges [first, last] that this summary stands for beside its own, because they were merged into it
    before any of them was sent: they never come. `gap` says that the merge lost their sketches.
    """

    header: Header
    accounting: Accounting
    window: WindowWire | None = None
    samples: tuple[SampleNote, ...] = ()
    shadow: ShadowNote | None = None
    simulated: bool = False
    note: str = ""
    opinions: OpinionsNote | None = None
    covers: tuple[tuple[Count, Count], ...] = ()
    gap: GapNote | None = None
    health: HealthNote | None = None
    trace: str = ""


class StationState(msgspec.Struct, frozen=True):
    """Birth (online) and Will (offline) of a station. A Will counts only when its boot is the last birth's (DESIGN 5).

    `next_seq` is the sequence number its next new summary will get, 0 where it does not say: one that the cloud has had already
    tells of a station that was restored from a backup. `board` is its class ("x86_64", "jetson-orin-nano"), "" where unsaid.
    """

    station: str
    boot: str
    online: bool
    at: Moment
    agent_version: str = ""
    simulated: bool = False
    v: int = WIRE_VERSION
    next_seq: Count = 0
    board: str = ""


class ReportedState(msgspec.Struct, frozen=True):
    """What a station runs and how its last update went.

    `configuration` is the SHA-256 of the remote settings in force, "" for none; `config_*` say how the last change of them
    went, in the words of `contract.config_states`. `outcome` is SHADOWED where the last order was to decide unseen only and its
    candidate did what was asked (`Probation.shadow_only`); `update_state` is IDLE then, and `bundle` what it was before.
    """

    station: str
    boot: str
    at: Moment
    bundle: str
    update_state: str
    deployment: str = ""
    candidate: str = ""
    reason: str = ""
    desired_seq: Count = 0
    shadow_frames: Count = 0
    shadow_agreed: Count = 0
    v: int = WIRE_VERSION
    configuration: str = ""
    config_state: str = ""
    config_deployment: str = ""
    config_reason: str = ""
    config_seq: Count = 0
    outcome: str = ""


SHADOWED = "shadowed"


class Probation(msgspec.Struct, frozen=True):
    """What a candidate must show on live frames before a station keeps it: first unseen beside the incumbent, then in charge.

    `min_agreement` is the least share of frames on which it must decide as the incumbent does; 0 where the incumbent is the
    thing known to be wrong (a station whose alarm this release answers). `max_mix_shift` is the most that the share of any
    verdict may differ from the incumbent's on the same frames (1: not asked). `shadow_share` is the share of frames that it
    decides unseen. `max_memory_mib` is the most the process may grow by (0: not asked). Then it decides for `serve_s` in
    charge before it is kept: a crash, a hang or a failure within that time takes the station back to the incumbent.
    `shadow_only`: it is never put in charge; having shown itself unseen it is put away, and the report says SHADOWED.
    """

    frames: Count
    min_agreement: Share
    timeout_s: Seconds = 600.0
    shadow_share: Share = 1.0
    max_mix_shift: Share = 1.0
    max_memory_mib: Seconds = 0.0
    serve_s: Seconds = 0.0
    shadow_only: bool = False


class Order(msgspec.Struct, frozen=True):
    """ "Station S, run bundle B now": the payload inside a DSSE envelope (DESIGN 6).

    `bundle` "" with size 0 orders it to run nothing: every frame is REVIEW until another order.
    """

    station: str
    bundle: str
    size_bytes: Count
    deployment: str
    desired_seq: Count
    release_counter: Count
    issued_at: Moment
    expires_at: Moment
    probation: Probation
    v: int = WIRE_VERSION


class ConfigOrder(msgspec.Struct, frozen=True):
    """ "Station S, work with these settings": the payload inside a DSSE envelope of its own type.

    `settings` is TOML text that is laid over agent.toml, whole: "" takes every remote setting back. `config_seq` is monotonic
    like an order's `desired_seq`, and apart from it. `probation_s` is how long the station must be well with it.
    """

    station: str
    settings: str
    deployment: str
    config_seq: Count
    issued_at: Moment
    expires_at: Moment
    probation_s: Seconds = 60.0
    v: int = WIRE_VERSION


class OrderKeys(msgspec.Struct, frozen=True):
    """The public order keys that stations shall know from now on, signed by one they know: how an order key is replaced.

    `keys` maps key id to raw Ed25519 key in hex. `version` is monotonic.
    """

    version: Count
    keys: dict[str, str]
    issued_at: Moment
    v: int = WIRE_VERSION


class DesiredState(msgspec.Struct, frozen=True):
    """The retained desired state of a station: signed orders, "" where there is none yet.

    Each is a DSSE envelope as JSON text: `envelope` of an Order, `configuration` of a ConfigOrder, `order_keys` of OrderKeys.
    """

    station: str
    envelope: str
    v: int = WIRE_VERSION
    configuration: str = ""
    order_keys: str = ""


class Command(msgspec.Struct, frozen=True):
    """Something to do once: `name` is "upload_samples" (arguments: samples, a list of ids) or "re_enrol" (none), or
    "drift" (alarmed, a bool; why, text: the thresholds' guarantee is void, or holds again).

    All may have the argument `camera`; without it the station's only or first camera is meant.

    `id` makes it idempotent: a station answers a repeated id with the first answer.
    """

    id: str
    station: str
    name: str
    expires_at: Moment
    arguments: dict[str, Any] = {}
    v: int = WIRE_VERSION


class CommandResult(msgspec.Struct, frozen=True):
    """A station's answer to a command."""

    id: str
    station: str
    ok: bool
    detail: str = ""
    v: int = WIRE_VERSION


class Ack(msgspec.Struct, frozen=True):
    """Sequence ranges [first, last] the cloud has committed, and how many more it would take now (`credit`).

    `conflicts` are ranges under which the cloud has committed something else: another device counts under the same boot (a
    clone), or this one was restored from a backup. The station sends those rows again under a boot of its own, and nothing new
    under this one; `renew_boot` asks for that before any row is in conflict.

    `contents` has the CRC-32 (zlib) of each summary's payload, one a sequence: those of `ranges` first, in order, then those of
    `conflicts`. A clone listens on the same topic, and what is said of its rows is not said of others with the same names. ()
    from a cloud that does not say.
    """

    station: str
    boot: str
    ranges: tuple[tuple[Count, Count], ...]
    credit: Count
    v: int = WIRE_VERSION
    conflicts: tuple[tuple[Count, Count], ...] = ()
    renew_boot: bool = False
    contents: tuple[Count, ...] = ()


class AggregatorState(msgspec.Struct, frozen=True):
    """Whether an aggregator is listening."""

    online: bool
    at: Moment
    v: int = WIRE_VERSION
