"""Commands from the cloud, each done once: a repeated id gets its first answer (DESIGN 5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from agent.ports.drift import DriftNotice
from agent.ports.enrolment import ReEnrolment
from agent.ports.log import Log
from agent.ports.memory import Memory
from agent.ports.policy import ImagesLeave
from agent.ports.samples import SampleSender, SampleStore
from contract.errors import LinkDown, PlumblineError, RefusedError
from contract.messages import Command, CommandResult

T = TypeVar("T")

_NAME = "answered_commands"
_REMEMBERED = 256
_MAX_SAMPLES = 500


class Chores:
    """Does commands for `station`. The chore thread calls everything.

    What belongs to a camera is given by the camera's name, "" for the station's only or first one.
    """

    def __init__(
        self,
        station: str,
        memory: Memory,
        samples: SampleStore,
        sender: SampleSender | None,
        policy: ImagesLeave,
        enrolment: Mapping[str, ReEnrolment],
        log: Log,
        drift: Mapping[str, DriftNotice] | None = None,
    ) -> None:
        self._station = station
        self._memory = memory
        self._samples = samples
        self._sender = sender
        self._policy = policy
        self._enrolment = dict(enrolment)
        self._log = log
        self._drift = dict(drift or {})
        kept = memory.get(_NAME)
        answers = msgspec.json.decode(kept, type=list[CommandResult]) if kept else []
        self._answered = OrderedDict((answer.id, answer) for answer in answers)

    def do(self, command: Command, now: float) -> CommandResult | None:
        """Do `command` unless it was answered before; return the answer, None for another station's or an expired one.

        Raises:
            LinkDown: images could not be sent now; do it again later.
        """
        if command.station != self._station:
            return None
        answered = self._answered.get(command.id)
        if answered is not None:
            return answered
        if now > command.expires_at:
            self._log.say(f"command {command.id} ({command.name}) came after its time")
            return None
        result = self._answer(command)
        self._answered[command.id] = result
        while len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        self._memory.put(_NAME, msgspec.json.encode(list(self._answered.values())).decode())
        return result

    def _answer(self, command: Command) -> CommandResult:
        if command.name == "re_enrol":
            return self._re_enrol(command)
        if command.name == "upload_samples":
            return self._upload(command)
        if command.name == "drift" and self._drift:
            return self._notice_drift(command)
        return self._result(command, False, f"this agent knows no command '{command.name[:40]}'")

    def _re_enrol(self, command: Command) -> CommandResult:
        enrolment = self._of_camera(command, self._enrolment)
        if isinstance(enrolment, CommandResult):
            return enrolment
        enrolment.request_enrolment()
        return self._result(command, True, "enrolling anew")

    def _notice_drift(self, command: Command) -> CommandResult:
        drift = self._of_camera(command, self._drift)
        if isinstance(drift, CommandResult):
            return drift
        alarmed, why = command.arguments.get("alarmed"), command.arguments.get("why", "")
        if not isinstance(alarmed, bool) or not isinstance(why, str):
            return self._result(command, False, "'alarmed' must be true or false, and 'why' text")
        drift.notice_drift(alarmed, why)
        return self._result(
            command, True, "guarantee void: nothing passes by itself" if alarmed else "guarantee in force"
        )

    def _of_camera(self, command: Command, by_camera: Mapping[str, T]) -> T | CommandResult:
        """Return what belongs to the camera that `command` names, or why it is refused."""
        camera = command.arguments.get("camera", "")
        if isinstance(camera, str) and camera in by_camera:
            return by_camera[camera]
        names = ", ".join(name or "'' (the first)" for name in sorted(by_camera))
        return self._result(command, False, f"no camera '{str(camera)[:40]}' here; there are: {names}")

    def _upload(self, command: Command) -> CommandResult:
        names = command.arguments.get("samples")
        if not isinstance(names, list) or len(names) > _MAX_SAMPLES or not all(isinstance(n, str) for n in names):
            return self._result(command, False, f"'samples' must be a list of at most {_MAX_SAMPLES} ids")
        if self._policy is ImagesLeave.NEVER:
            return self._result(command, False, "refused: no image leaves this station (images_leave = 'never')")
        if self._sender is None:
            return self._result(command, False, "refused: no [cloud] url is configured")
        self._mark_asked(names)
        sent, gone = 0, 0
        refused: list[str] = []
        for name in names:
            found = self._samples.find(name)
            if found is None:
                gone += 1
                continue
            note, png = found
            if not self._policy.allows_sample(note.reason):
                refused.append(f"{name}: policy lets only unsure frames leave")
                continue
            try:
                self._sender.send(note, png)
            except LinkDown:
                raise
            except RefusedError as error:
                refused.append(error.message)
                continue
            self._mark(name)
            sent += 1
        detail = f"{sent} sent, {gone} no longer kept, {len(refused)} refused"
        return self._result(command, sent > 0 or not refused, f"{detail}: {refused[0]}" if refused else detail)

    def _mark_asked(self, names: list[str]) -> None:
        try:
            self._samples.mark_asked(names)
        except PlumblineError as error:
            self._log.fault("samples", error.one_line())

    def _mark(self, name: str) -> None:
        try:
            self._samples.mark_uploaded(name)
        except PlumblineError as error:
            self._log.fault("samples", error.one_line())

    def _result(self, command: Command, ok: bool, detail: str) -> CommandResult:
        return CommandResult(id=command.id, station=self._station, ok=ok, detail=detail[:500])
