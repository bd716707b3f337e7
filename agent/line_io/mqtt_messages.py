"""What a station and a line's controller say to each other over MQTT: JSON, small, and checked before anybody believes it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.line_io.desk import MAX_PART_CHARS
from agent.ports.line import Answer
from contract.errors import BadMessage

MAX_TRIGGER_BYTES = 1024
_INT64 = 1 << 63
_MAX_VALID_MS = 600_000.0
_MAX_SAID_CHARS = 120

Ask = (
    Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64 - 1)]
    | Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PART_CHARS)]
)


class Trigger(msgspec.Struct, frozen=True):
    """`.../trigger`: a part is there. `valid_ms`: how long a verdict is of use, less than the station's own timeout or nothing."""

    ask: Ask
    part: Annotated[str, msgspec.Meta(max_length=MAX_PART_CHARS)] = ""
    valid_ms: Annotated[float, msgspec.Meta(gt=0.0, le=_MAX_VALID_MS)] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """`.../refused`: a trigger that gets no verdict. `ask` is null where it could not be read; `said` is for a person."""

    why: str
    ask: int | str | None = None
    part: str = ""
    said: str = ""


class StateNote(msgspec.Struct, frozen=True):
    """`.../state`, retained: whether triggers are taken, and if not, why.

    `birth` counts this process's connections: the Will of one carries the same number as its states. `beat` goes up with every
    heartbeat. `counts`: of triggers and verdicts on this connection's side (`agent.line_io.mqtt.MqttLine`).
    """

    ready: bool
    why: str
    waiting: int
    birth: int
    beat: int
    counts: dict[str, int]


_TRIGGERS = msgspec.json.Decoder(Trigger)


def read_trigger(payload: bytes) -> Trigger:
    """Return the trigger in `payload`; unknown keys are let be.

    Raises:
        BadMessage: it is none: too long, no JSON, a key that is missing or of the wrong kind, characters that do not print.
    """
    if len(payload) > MAX_TRIGGER_BYTES:
        raise BadMessage(f"a trigger has at most {MAX_TRIGGER_BYTES} bytes, not {len(payload)}")
    try:
        trigger = _TRIGGERS.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"no trigger: {str(error)[:_MAX_SAID_CHARS]}", hint='{"ask": 1, "part": "A-17"}') from error
    if not trigger.part.isprintable() or (isinstance(trigger.ask, str) and not trigger.ask.isprintable()):
        raise BadMessage("a trigger's ask and part have printable characters only")
    return trigger


def verdict_bytes(answer: Answer) -> bytes:
    """Return the JSON of `.../verdict`: the fields of `Answer`, and `lost` as its word or null.

    Raises:
        BadMessage: a word in it is no Unicode (a part named after a file of another alphabet).
    """
    try:
        return msgspec.json.encode(answer)
    except UnicodeEncodeError as error:
        raise BadMessage("a verdict with a word that is no text") from error
