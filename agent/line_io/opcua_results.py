"""The results a vision system keeps, and their shapes in OPC 40100-1: a structure, an event's parts, a list that is filtered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from asyncua import ua

from agent.line_io.opcua_space import RESULT_FIELDS, Space
from agent.ports.line import Answer, Lost

_KEPT = 64
# OPC 40100-1, 12.19.
COMPLETED, ABORTED, FAILED = 1, 3, 4
_STATES = {None: COMPLETED, Lost.STOPPED: ABORTED, Lost.GONE: ABORTED, Lost.TIMEOUT: FAILED, Lost.FAULT: FAILED}


@dataclass(frozen=True, slots=True)
class Job:
    """What StartSingleJob or StartContinuous asked for."""

    id: str
    meas: str = ""
    part: str = ""


def state_of(answer: Answer) -> int:
    """Return the ResultState of `answer`: a verdict, REVIEW too, is Completed."""
    return _STATES[answer.lost]


def content(answer: Answer) -> list[ua.Variant]:
    """Return ResultContent: verdict, cause, label, confidence, latency in ms, captured at, how it was lost ("" for not)."""
    text, number = ua.VariantType.String, ua.VariantType.Double
    captured = datetime.fromtimestamp(answer.captured_at, timezone.utc)
    return [
        ua.Variant(answer.verdict, text),
        ua.Variant(answer.cause, text),
        ua.Variant(answer.label, text),
        ua.Variant(float(answer.confidence), number),
        ua.Variant(float(answer.latency_ms), number),
        ua.Variant(captured, ua.VariantType.DateTime),
        ua.Variant(answer.lost.value if answer.lost else "", text),
    ]


class Results:
    """The newest results, the last first; a handle is never given out, for nothing is kept for a client alone."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque(maxlen=_KEPT)

    def keep(self, space: Space, job: Job, number: str, answer: Answer, now: float) -> Any:
        """Return the ResultDataType of `answer` to `job`, kept."""
        made = space.classes["ResultDataType"]()
        made.ResultId.Id, made.JobId.Id = number, job.id
        made.HasTransferableDataOnFile, made.IsPartial, made.IsSimulated = False, False, False
        made.ResultState = state_of(answer)
        made.MeasId = space.classes["MeasIdDataType"](Id=job.meas)
        made.PartId = space.classes["PartIdDataType"](Id=answer.part)
        made.CreationTime = datetime.fromtimestamp(now, timezone.utc)
        times = space.classes["ProcessingTimesDataType"]()
        times.StartTime = datetime.fromtimestamp(now - answer.latency_ms / 1e3, timezone.utc)
        times.EndTime = made.CreationTime
        made.ProcessingTimes, made.ResultContent = times, content(answer)
        self._kept.appendleft(made)
        return made

    def by_id(self, number: str) -> Any | None:
        """Return the result with this id, None where there is none or it is no longer kept."""
        return next((each for each in self._kept if each.ResultId.Id == number), None)

    def filtered(self, *, state: int, meas: str, part: str, job: str) -> list[Any]:
        """Return those that match; 0 and "" match everything."""
        return [
            each
            for each in self._kept
            if state in (0, each.ResultState)
            and meas in ("", each.MeasId.Id)
            and part in ("", each.PartId.Id)
            and job in ("", each.JobId.Id)
        ]


def variants(space: Space, result: Any, names: Iterable[str]) -> dict[str, ua.Variant]:
    """Return the named parts of `result`, each as its data type has it; what is not there is null."""
    found = {}
    for name in names:
        value = getattr(result, name)
        if value is None:
            found[name] = ua.Variant(None)
        elif name == "ResultState":
            found[name] = ua.Variant(value, ua.VariantType.Int32)
        elif name == "ResultContent":
            found[name] = ua.Variant(value, ua.VariantType.Variant, is_array=True)
        else:
            found[name] = ua.Variant(value)
    return found


EVENT_FIELDS = tuple(name for name, _, _ in RESULT_FIELDS if name != "HasTransferableDataOnFile")
COMPONENTS = tuple(name for name, _, _ in RESULT_FIELDS[1:])
