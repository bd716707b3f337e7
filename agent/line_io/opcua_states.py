"""OPC 40100-1, 8.2 and 8.3: the vision system's states and every way from one to another. Everything that affects them lives here.

The states inside Operational are those of the AutomaticModeStateMachine, so seven of ours say where both machines are. Numbers
and NodeIds (namespace http://opcfoundation.org/UA/MachineVision) are those of the published NodeSet, version 1.0.0 of 2019-07-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contract.errors import IllegalTransition


class State(Enum):
    """BrowseName, StateNumber, NodeId."""

    PREOPERATIONAL = ("Preoperational", 1, 5028)
    HALTED = ("Halted", 2, 5029)
    ERROR = ("Error", 3, 5030)
    INITIALIZED = ("Initialized", 5, 5056)
    READY = ("Ready", 6, 5057)
    SINGLE = ("SingleExecution", 7, 5058)
    CONTINUOUS = ("ContinuousExecution", 8, 5059)

    @property
    def operational(self) -> bool:
        """Return whether it is one of the AutomaticModeStateMachine's."""
        return self.value[1] > OPERATIONAL[1]


OPERATIONAL = ("Operational", 4, 5031)


class Cause(Enum):
    """What moves the machine: the station's own reasons, then the methods by their BrowseNames."""

    STARTED = "the station started"
    READY = "the station takes triggers"
    NOT_READY = "the station takes none"
    DONE = "the job has its result"
    FAILED = "the job has none"
    CLOSING = "the station stops"
    SELECT_MODE_AUTOMATIC = "SelectModeAutomatic"
    START_SINGLE_JOB = "StartSingleJob"
    START_CONTINUOUS = "StartContinuous"
    STOP = "Stop"
    ABORT = "Abort"
    HALT = "Halt"
    RESET = "Reset"


METHODS = tuple(cause for cause in Cause if " " not in cause.value)


@dataclass(frozen=True, slots=True)
class Transition:
    """BrowseName, TransitionNumber, NodeId, and the states' BrowseNames at its ends."""

    name: str
    number: int
    node: int
    origin: str
    target: str

    @property
    def top(self) -> bool:
        """Return whether it is one of the VisionStateMachine's own."""
        return self.number < 500 and self.target != "Initialized"


def _transition(name: str, number: int, node: int) -> Transition:
    origin, _, rest = name.partition("To")
    target = next(each for each in _NAMES if rest.startswith(each))
    return Transition(name, number, node, origin, target)


_NAMES = (*(state.value[0] for state in State), OPERATIONAL[0])
_T = {
    name: _transition(name, number, node)
    for name, number, node in (
        ("PreoperationalToHalted", 121, 5032),
        ("PreoperationalToHaltedAuto", 120, 5033),
        ("PreoperationalToOperational", 141, 5253),
        ("PreoperationalToOperationalAuto", 140, 5254),
        ("PreoperationalToInitialized", 151, 5035),
        ("PreoperationalToInitializedAuto", 150, 5036),
        ("HaltedToPreoperational", 211, 5037),
        ("ErrorToPreoperational", 311, 5039),
        ("ErrorToHalted", 321, 5041),
        ("ErrorToHaltedAuto", 320, 5042),
        ("ErrorToOperationalAuto", 340, 5255),
        ("OperationalToPreoperational", 411, 5047),
        ("OperationalToHalted", 421, 5049),
        ("OperationalToHaltedAuto", 420, 5050),
        ("OperationalToErrorAuto", 430, 5051),
        ("InitializedToReadyAuto", 560, 5061),
        ("ReadyToSingleExecution", 671, 5064),
        ("ReadyToContinuousExecution", 681, 5066),
        ("SingleExecutionToReadyAuto", 760, 5070),
        ("SingleExecutionToReadyStop", 761, 5068),
        ("SingleExecutionToReadyAbort", 762, 5069),
        ("ContinuousExecutionToReadyStop", 861, 5071),
        ("ContinuousExecutionToReadyAbort", 862, 5072),
    )
}
TRANSITIONS = tuple(_T.values())

Move = tuple[State, tuple[Transition, ...]]


def _to(target: State, *names: str) -> Move:
    return target, tuple(_T[name] for name in names)


_BACK = {
    Cause.HALT: _to(State.HALTED, "OperationalToHalted"),
    Cause.RESET: _to(State.PREOPERATIONAL, "OperationalToPreoperational"),
    Cause.CLOSING: _to(State.HALTED, "OperationalToHaltedAuto"),
}
_WENT_WRONG = {Cause.NOT_READY: _to(State.ERROR, "OperationalToErrorAuto")}

TABLE: dict[State, dict[Cause, Move]] = {
    State.PREOPERATIONAL: {
        Cause.STARTED: _to(State.INITIALIZED, "PreoperationalToOperationalAuto", "PreoperationalToInitializedAuto"),
        Cause.SELECT_MODE_AUTOMATIC: _to(
            State.INITIALIZED, "PreoperationalToOperational", "PreoperationalToInitialized"
        ),
        Cause.HALT: _to(State.HALTED, "PreoperationalToHalted"),
        Cause.CLOSING: _to(State.HALTED, "PreoperationalToHaltedAuto"),
        Cause.RESET: _to(State.PREOPERATIONAL),  # 8.2.2.2: always executable
    },
    State.HALTED: {
        Cause.RESET: _to(State.PREOPERATIONAL, "HaltedToPreoperational"),
        Cause.CLOSING: _to(State.HALTED),
    },
    # 8.2.2.4: the system tries to come back where it was, else to the highest state that it can.
    State.ERROR: {
        Cause.READY: _to(State.READY, "ErrorToOperationalAuto"),
        Cause.HALT: _to(State.HALTED, "ErrorToHalted"),
        Cause.RESET: _to(State.PREOPERATIONAL, "ErrorToPreoperational"),
        Cause.CLOSING: _to(State.HALTED, "ErrorToHaltedAuto"),
    },
    State.INITIALIZED: {Cause.READY: _to(State.READY, "InitializedToReadyAuto"), **_BACK},
    State.READY: {
        Cause.START_SINGLE_JOB: _to(State.SINGLE, "ReadyToSingleExecution"),
        Cause.START_CONTINUOUS: _to(State.CONTINUOUS, "ReadyToContinuousExecution"),
        **_WENT_WRONG,
        **_BACK,
    },
    State.SINGLE: {
        Cause.DONE: _to(State.READY, "SingleExecutionToReadyAuto"),
        Cause.FAILED: _to(State.ERROR, "OperationalToErrorAuto"),
        Cause.STOP: _to(State.READY, "SingleExecutionToReadyStop"),
        Cause.ABORT: _to(State.READY, "SingleExecutionToReadyAbort"),
        **_WENT_WRONG,
        **_BACK,
    },
    State.CONTINUOUS: {
        Cause.STOP: _to(State.READY, "ContinuousExecutionToReadyStop"),
        Cause.ABORT: _to(State.READY, "ContinuousExecutionToReadyAbort"),
        **_WENT_WRONG,
        **_BACK,
    },
}


def move(state: State, cause: Cause) -> Move:
    """Return where `cause` leads from `state`, and by which transitions.

    Raises:
        IllegalTransition: nowhere.
    """
    try:
        return TABLE[state][cause]
    except KeyError:
        raise IllegalTransition(f"{cause.value} has no meaning in {state.value[0]}") from None
