"""The names, NodeIds and signatures of OPC 40100-1 that a station has, as the published NodeSet (version 1.0.0) has them."""

from __future__ import annotations

from dataclasses import dataclass

from asyncua import ua

NAMESPACE = "http://opcfoundation.org/UA/MachineVision"

STATE = 3009
_BASE, _UTC, _DURATION, _LOCALIZED = 24, 294, 290, 21
_BOOL, INT, UINT, _STRING, _BYTES = 1, 6, 7, 12, 15
# The standard has TrimmedString here, a String on the wire; asyncua 2.1 knows only OPC UA's own type of that name, and its clients
# cannot load a structure that has another.
_TEXT = _STRING
OURS = 1000
"""Above this a data type's number is one of the standard's namespace, below it of OPC UA itself."""

_NAMED = (("Id", _TEXT, False), ("Description", _LOCALIZED, True))
_BINARY = (
    ("Id", _TEXT, False),
    ("Version", _TEXT, True),
    ("Hash", _BYTES, True),
    ("HashAlgorithm", _STRING, True),
    ("Description", _LOCALIZED, True),
)
# Name, NodeId, NodeId of its binary encoding, fields (name, data type, optional).
STRUCTURES: tuple[tuple[str, int, int, tuple[tuple[str, int, bool], ...]], ...] = (
    ("JobIdDataType", 3016, 5008, (("Id", _TEXT, False),)),
    ("ResultIdDataType", 3021, 5274, (("Id", _TEXT, False),)),
    ("MeasIdDataType", 3015, 5006, _NAMED),
    ("PartIdDataType", 3004, 5013, _NAMED),
    ("ProductIdDataType", 3003, 5224, _NAMED),
    ("ConfigurationIdDataType", 3008, 5090, _BINARY),
    ("RecipeIdExternalDataType", 3002, 5002, _BINARY),
    ("RecipeIdInternalDataType", 3013, 5268, _BINARY),
    (
        "ProcessingTimesDataType",
        3005,
        5016,
        (
            ("StartTime", _UTC, False),
            ("EndTime", _UTC, False),
            ("AcquisitionDuration", _DURATION, True),
            ("ProcessingDuration", _DURATION, True),
        ),
    ),
)
# The parts of a result, as ResultDataType, ResultType and ResultReadyEventType have them (7.10, 8.3.8.6, 12.17).
RESULT_FIELDS: tuple[tuple[str, int, bool], ...] = (
    ("ResultId", 3021, False),
    ("HasTransferableDataOnFile", _BOOL, True),
    ("IsPartial", _BOOL, False),
    ("IsSimulated", _BOOL, True),
    ("ResultState", STATE, False),
    ("MeasId", 3015, True),
    ("PartId", 3004, True),
    ("ExternalRecipeId", 3002, True),
    ("InternalRecipeId", 3013, False),
    ("ProductId", 3003, True),
    ("ExternalConfigurationId", 3008, True),
    ("InternalConfigurationId", 3008, False),
    ("JobId", 3016, False),
    ("CreationTime", _UTC, False),
    ("ProcessingTimes", 3005, True),
    ("ResultContent", _BASE, True),
)
EVENT_TYPES: tuple[tuple[str, int, int, tuple[tuple[str, int], ...]], ...] = (
    ("JobStartedEventType", 1013, ua.ObjectIds.BaseEventType, (("JobId", 3016),)),
    ("ReadyEventType", 1023, ua.ObjectIds.BaseEventType, (("JobId", 3016),)),
    (
        "ResultReadyEventType",
        1024,
        ua.ObjectIds.BaseEventType,
        tuple((name, kind) for name, kind, _ in RESULT_FIELDS if name != "HasTransferableDataOnFile"),
    ),
    ("StateChangedEventType", 1018, ua.ObjectIds.TransitionEventType, ()),
    ("ErrorEventType", 1019, ua.ObjectIds.TransitionEventType, ()),
    ("ErrorResolvedEventType", 1020, ua.ObjectIds.TransitionEventType, ()),
)
EVENTS = {name: number for name, number, _, _ in EVENT_TYPES}

_ERROR = (("Error", INT),)
_CAUSE = (("Cause", INT), ("CauseDescription", _STRING))
_START = (("MeasId", 3015), ("PartId", 3004), ("RecipeId", 3002), ("ProductId", 3003), ("Parameters", -_BASE))
_FILTER = (
    ("ResultState", STATE),
    ("MeasId", 3015),
    ("PartId", 3004),
    ("ExternalRecipeId", 3002),
    ("InternalRecipeId", 3013),
    ("ExternalConfigurationId", 3008),
    ("InternalConfigurationId", 3008),
    ("ProductId", 3003),
    ("JobId", 3016),
    ("MaxResults", UINT),
    ("StartIndex", UINT),
    ("Timeout", INT),
)
_BY_ID = (("ResultId", 3021), ("Timeout", INT))


@dataclass(frozen=True, slots=True)
class Method:
    """Its BrowseName, the NodeId on its type, and its arguments (name, data type; negative: an array of it)."""

    name: str
    node: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


TOP_METHODS = (
    Method("Halt", 7094, _CAUSE, _ERROR),
    Method("Reset", 7093, _CAUSE, _ERROR),
    Method("SelectModeAutomatic", 7095, (), _ERROR),
)
_JOB = (("JobId", 3016), ("Error", INT))
AUTO_METHODS = (
    Method("StartSingleJob", 7098, _START, _JOB),
    Method("StartContinuous", 7009, _START, _JOB),
    Method("Stop", 7096, _CAUSE, _ERROR),
    Method("Abort", 7097, _CAUSE, _ERROR),
)
_COMPONENTS = tuple((name, -_BASE if name == "ResultContent" else kind) for name, kind, _ in RESULT_FIELDS[1:])
RESULT_METHODS = (
    Method("GetResultById", 7026, _BY_ID, (("ResultHandle", 3018), ("Result", 3006), ("Error", INT))),
    Method(
        "GetResultComponentsById",
        7007,
        _BY_ID,
        (_COMPONENTS[0], ("ResultHandle", 3018), *_COMPONENTS[1:], ("Error", INT)),
    ),
    Method(
        "GetResultListFiltered",
        7089,
        _FILTER,
        (("IsComplete", _BOOL), ("ResultCount", UINT), ("ResultHandle", 3018), ("ResultList", -3006), ("Error", INT)),
    ),
)
METHODS = {method.name: method for method in (*TOP_METHODS, *AUTO_METHODS, *RESULT_METHODS)}
