"""A station as the vision system of OPC 40100-1: what its methods do, what its states show, which events it sends.

It is a "preconfigured system" (annex B.1.5): it goes by itself to Ready and takes jobs for what is installed; a call that names a
recipe or a product is refused, for a station cannot check it. One job at a time. Everything runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from asyncua import Server, ua
from asyncua.common.event_objects import BaseEvent, TransitionEvent

from agent.line_io.desk import MAX_PART_CHARS
from agent.line_io.opcua_names import EVENTS
from agent.line_io.opcua_results import COMPONENTS, EVENT_FIELDS, FAILED, Job, Results, state_of, variants
from agent.line_io.opcua_space import Space, build, effects
from agent.line_io.opcua_states import METHODS, OPERATIONAL, TABLE, Cause, State, Transition, move
from agent.ports.line import Answer, LineDesk, LineState, Lost, Refused

# The standard leaves numbers below zero of `error` to the application (8.2.8, 8.3.7); above zero are its own.
ERRORS = {Refused.NOT_READY: -1, Refused.FULL: -2, Refused.AGAIN: -3}
NO_RECIPES, NO_SUCH_RESULT = -4, -5
_SEVERITY = {"ErrorEventType": 700, "ResultReadyEventType": 300}
_START = (Cause.START_SINGLE_JOB, Cause.START_CONTINUOUS)


@dataclass(slots=True)
class Mode:
    """What clients made of the machine, kept where it outlives a server that dies of a fault of ours.

    `by_itself`: it goes to Ready without being told to, as nobody reset it, or who did has it automatic again; `halted`: somebody
    halted it.
    """

    by_itself: bool = True
    halted: bool = False


class Vision:
    """`open` makes the address space; the rest follows the station (`is_now`, `answered`) and the clients (`call`)."""

    def __init__(self, server: Server, desk: LineDesk, now: Callable[[], float], boot: str, mode: Mode) -> None:
        """`boot` makes this server's job and result ids differ from those of another."""
        self._server, self._desk, self._now, self._boot = server, desk, now, boot
        self._space: Space
        self.state = State.HALTED if mode.halted else State.PREOPERATIONAL
        self._ready, self._why = False, ""
        self._mode = mode
        self._job: Job | None = None
        self._jobs, self._numbers = 0, 0
        self._results = Results()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Make the address space, in state Preoperational, or Halted where somebody halted it."""
        calls: dict[str, Callable[..., Any]] = {cause.value: self._method(cause) for cause in METHODS}
        calls |= {
            "GetResultById": self._result_by_id,
            "GetResultComponentsById": self._components_by_id,
            "GetResultListFiltered": self._list_filtered,
        }
        self._space = await build(self._server, calls)
        await self._show_state()

    async def is_now(self, state: LineState) -> None:
        """Follow the station: ready for triggers, or not and why."""
        async with self._lock:
            self._ready, self._why = state.ready, state.why
            if state.ready and self.state is State.PREOPERATIONAL and self._mode.by_itself:
                await self._go(Cause.STARTED)
            await self._settle()

    async def answered(self, answer: Answer) -> bool:
        """Give out `answer`; return whether anybody is there to take it, and asked for it."""
        async with self._lock:
            job = self._job
            if answer.ask is None:
                await self._give(job if job and self.state is State.CONTINUOUS else Job(""), answer)
            elif job is not None and job.id == answer.ask and self.state is not State.CONTINUOUS:
                await self._finish(job, answer)
            else:
                return False
            return self._heard()

    async def close(self, why: str) -> None:
        """Go to Halted: the station stops."""
        async with self._lock:
            self._ready, self._why = False, why
            await self._leave_job(Cause.CLOSING)
            await self._go(Cause.CLOSING)

    def forsake(self) -> None:
        """Give up the job in hand: the server dies, and no client can take its result."""
        if self._job is not None:
            self._desk.withdraw(self._job.id)

    def _heard(self) -> bool:
        return bool(self._server.bserver and self._server.bserver.clients)

    async def _finish(self, job: Job, answer: Answer) -> None:
        self._job = None
        await self._give(job, answer)
        if self.state is not State.SINGLE:
            return  # halted, reset or in Error meanwhile
        if state_of(answer) == FAILED:
            await self._go(Cause.FAILED, job.id, f"part '{job.part}' has no verdict: {answer.cause}")
            await self._settle(job.id)
        else:
            await self._go(Cause.DONE, job.id)

    async def _settle(self, job: str = "") -> None:
        """Go where the station is: ready or not."""
        cause = Cause.READY if self._ready else Cause.NOT_READY
        if cause in TABLE[self.state]:
            if self.state is State.CONTINUOUS:
                self._job = None
            await self._go(cause, job, self._why)

    def _method(self, cause: Cause) -> Callable[..., Any]:
        async def call(parent: ua.NodeId, *arguments: ua.Variant) -> Any:
            owner = self._space.auto if cause in (*_START, Cause.STOP, Cause.ABORT) else self._space.top
            if parent != owner.nodeid:
                return ua.StatusCode(ua.StatusCodes.BadMethodInvalid)
            wrong = _wrong(arguments, 5 if cause in _START else 0 if cause is Cause.SELECT_MODE_AUTOMATIC else 2)
            if wrong is not None:
                return wrong
            async with self._lock:
                if cause not in TABLE[self.state]:
                    return ua.StatusCode(ua.StatusCodes.BadNotExecutable)
                if cause in _START:
                    return await self._start(cause, arguments)
                job = self._job.id if self._job else ""
                await self._leave_job(cause)
                await self._go(cause, job)
                if cause in (Cause.RESET, Cause.HALT, Cause.SELECT_MODE_AUTOMATIC):
                    self._mode.by_itself = cause is Cause.SELECT_MODE_AUTOMATIC
                self._mode.halted = self.state is State.HALTED
                await self._settle()
                return [ua.Variant(0, ua.VariantType.Int32)]

        return call

    async def _start(self, cause: Cause, arguments: tuple[ua.Variant, ...]) -> Any:
        names: list[str] = []
        for position, argument in enumerate(arguments[:4]):
            text = _id(argument)
            if text is None or len(text) > MAX_PART_CHARS or not text.isprintable():
                return _bad_argument(position, 5)
            names.append(text.strip())
        if arguments[4].Value:
            return _bad_argument(4, 5)
        meas, part, recipe, product = names
        if self._job is not None:
            return self._started("", ERRORS[Refused.FULL])  # Error came between it and its answer, which is on its way
        if recipe or product:
            return self._started("", NO_RECIPES)
        self._jobs += 1
        job = Job(f"{self._boot}-{self._jobs}", meas, part)
        if cause is Cause.START_SINGLE_JOB:
            refused = self._desk.trigger(job.id, part)
            if refused is not None:
                return self._started("", ERRORS[refused])
        self._job = job
        await self._go(cause, job.id)
        return self._started(job.id, 0)

    def _started(self, job: str, error: int) -> list[ua.Variant]:
        made = self._space.classes["JobIdDataType"](Id=job)
        return [ua.Variant(made), ua.Variant(error, ua.VariantType.Int32)]

    async def _leave_job(self, cause: Cause) -> None:
        """End the job in hand without its verdict: its part is not passed, and its result says that it was aborted."""
        job, self._job = self._job, None
        if job is None or self.state not in (State.SINGLE, State.ERROR):
            return
        self._desk.withdraw(job.id)
        lost = Lost.STOPPED if cause is Cause.CLOSING else Lost.GONE
        await self._give(job, Answer(job.id, job.part, "REJECT", cause.value, lost=lost))

    async def _give(self, job: Job, answer: Answer) -> None:
        self._numbers += 1
        result = self._results.keep(self._space, job, f"{self._boot}-r{self._numbers}", answer, self._now())
        await self._write(self._space.result[""].nodeid, ua.Variant(result))
        for name, value in variants(self._space, result, ("ResultId", *COMPONENTS)).items():
            await self._write(self._space.result[name].nodeid, value)
        event = self._event("ResultReadyEventType", f"{answer.verdict} for part '{answer.part}'")
        for name, value in variants(self._space, result, EVENT_FIELDS).items():
            event.add_property(name, value.Value, value.VariantType)
        await self._send(event)

    async def _go(self, cause: Cause, job: str = "", why: str = "") -> None:
        """Follow `cause`, which the state has a row for, and tell everybody."""
        self.state, transitions = move(self.state, cause)
        await self._show_state()
        for transition in transitions:
            for effect in effects(transition):
                event = self._event(effect, why or f"{transition.name}: {cause.value}")
                if isinstance(event, TransitionEvent):
                    self._fill(event, transition)
                else:
                    event.add_property(
                        "JobId", self._space.classes["JobIdDataType"](Id=job), ua.VariantType.ExtensionObject
                    )
                await self._send(event)

    async def _show_state(self) -> None:
        name, _, node = self.state.value
        operational = self.state.operational
        top = OPERATIONAL if operational else self.state.value
        await self._write(self._space.states["top"].nodeid, ua.Variant(ua.LocalizedText(top[0])))
        await self._write(self._space.states["top id"].nodeid, ua.Variant(self._space.number(top[2])))
        # Part 16, 4.4.2: a machine that is not active says so.
        status = ua.StatusCodes.Good if operational else ua.StatusCodes.BadStateNotActive
        await self._write(self._space.states["auto"].nodeid, ua.Variant(ua.LocalizedText(name)), status)
        await self._write(self._space.states["auto id"].nodeid, ua.Variant(self._space.number(node)), status)
        for cause in METHODS:
            allowed = ua.DataValue(ua.Variant(cause in TABLE[self.state], ua.VariantType.Boolean))
            for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
                await self._server.write_attribute_value(self._space.methods[cause.value].nodeid, allowed, attribute)

    async def _write(self, node: ua.NodeId, value: ua.Variant, status: int = ua.StatusCodes.Good) -> None:
        written = ua.DataValue(value, ua.StatusCode(status), datetime.fromtimestamp(self._now(), timezone.utc))
        await self._server.write_attribute_value(node, written)

    def _event(self, kind: str, message: str) -> BaseEvent:
        made = (
            TransitionEvent()
            if kind in ("StateChangedEventType", "ErrorEventType", "ErrorResolvedEventType")
            else BaseEvent()
        )
        made.EventType = self._space.number(EVENTS[kind])
        made.EventId = uuid.uuid4().bytes
        made.Time = made.ReceiveTime = datetime.fromtimestamp(self._now(), timezone.utc)
        made.Message, made.Severity = ua.LocalizedText(message), _SEVERITY.get(kind, 100)
        return made

    def _fill(self, event: TransitionEvent, transition: Transition) -> None:
        numbers = {state.value[0]: state.value[2] for state in State} | {OPERATIONAL[0]: OPERATIONAL[2]}
        for part, name, number in (
            ("Transition", transition.name, transition.node),
            ("FromState", transition.origin, numbers[transition.origin]),
            ("ToState", transition.target, numbers[transition.target]),
        ):
            event.add_variable(part, ua.LocalizedText(name), ua.VariantType.LocalizedText)
            event.add_property(f"{part}/Id", self._space.number(number), ua.VariantType.NodeId)

    async def _send(self, event: BaseEvent) -> None:
        """Send it at the machine, at the vision system and at the server: asyncua does not pass it up by itself."""
        source = self._space.auto if self.state.operational else self._space.top
        event.SourceNode, event.SourceName = source.nodeid, str(source.nodeid.Identifier)
        for node in (source.nodeid, self._space.system.nodeid, self._server.nodes.server.nodeid):
            sent = copy.copy(event)
            sent.emitting_node = node
            await self._server.iserver.subscription_service.trigger_event(sent)

    async def _result_by_id(self, _parent: ua.NodeId, *arguments: ua.Variant) -> Any:
        wrong = _wrong(arguments, 2)
        if wrong is not None:
            return wrong
        result = self._results.by_id(_id(arguments[0]) or "")
        found = result or self._space.classes["ResultDataType"]()
        return [_handle(), ua.Variant(found), _error(0 if result else NO_SUCH_RESULT)]

    async def _components_by_id(self, _parent: ua.NodeId, *arguments: ua.Variant) -> Any:
        wrong = _wrong(arguments, 2)
        if wrong is not None:
            return wrong
        result = self._results.by_id(_id(arguments[0]) or "")
        parts = variants(self._space, result or self._space.classes["ResultDataType"](), COMPONENTS)
        first, *rest = parts.values()
        return [first, _handle(), *rest, _error(0 if result else NO_SUCH_RESULT)]

    async def _list_filtered(self, _parent: ua.NodeId, *arguments: ua.Variant) -> Any:
        wrong = _wrong(arguments, 12)
        if wrong is not None:
            return wrong
        ids, numbers = [_id(arguments[n]) for n in (1, 2, 8)], [arguments[n].Value or 0 for n in (0, 9, 10)]
        for position, value in zip((1, 2, 8, 0, 9, 10), (*ids, *numbers), strict=True):
            if value is None or (position in (0, 9, 10) and not (isinstance(value, int) and value >= 0)):
                return _bad_argument(position, 12)
        meas, part, job = (each or "" for each in ids)
        state, most, start = numbers
        found = self._results.filtered(state=state, meas=meas, part=part, job=job)[start:]
        given = found[:most] if most else found
        return [
            ua.Variant(len(given) == len(found)),
            ua.Variant(len(given), ua.VariantType.UInt32),
            _handle(),
            ua.Variant(given, ua.VariantType.ExtensionObject, is_array=True),
            _error(0),
        ]


def _wrong(arguments: tuple[ua.Variant, ...], count: int) -> ua.StatusCode | None:
    if len(arguments) < count:
        return ua.StatusCode(ua.StatusCodes.BadArgumentsMissing)
    return ua.StatusCode(ua.StatusCodes.BadTooManyArguments) if len(arguments) > count else None


def _bad_argument(position: int, count: int) -> ua.CallMethodResult:
    result = ua.CallMethodResult()
    result.StatusCode = ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
    result.InputArgumentResults = [
        ua.StatusCode(ua.StatusCodes.BadInvalidArgument if n == position else ua.StatusCodes.Good) for n in range(count)
    ]
    return result


def _id(argument: ua.Variant) -> str | None:
    """Return the Id of a MeasId, PartId and so on; "" where there is none, None where it is no such thing."""
    value = argument.Value
    if value is None or (isinstance(value, ua.ExtensionObject) and value.TypeId == ua.NodeId()):
        return ""
    found = value if isinstance(value, str) else getattr(value, "Id", 0)
    return "" if found is None else found if isinstance(found, str) else None


def _handle() -> ua.Variant:
    return ua.Variant(0, ua.VariantType.UInt32)


def _error(number: int) -> ua.Variant:
    return ua.Variant(number, ua.VariantType.Int32)
