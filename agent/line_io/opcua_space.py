"""The address space of OPC 40100-1 as far as a station has it, made in code: types, one VisionSystem, its methods.

The type nodes have the NodeIds of the published NodeSet (version 1.0.0 of 2019-07-11); the instance below Objects has names of
its own ("VisionSystem.VisionStateMachine" and so on, in the server's namespace). Left out of the types: what the standard makes
optional and a station has not (recipe, configuration and safety management, step models, simulation, conditions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.manage_nodes import create_encoding
from asyncua.common.structures104 import new_struct_field

from agent.line_io.opcua_states import OPERATIONAL, TRANSITIONS, State, Transition

NAMESPACE = "http://opcfoundation.org/UA/MachineVision"
Call = Callable[..., Any]

_STATE = 3009
_BASE, _UTC, _DURATION, _LOCALIZED = 24, 294, 290, 21
_BOOL, _INT, _UINT, _STRING, _BYTES = 1, 6, 7, 12, 15
# The standard has TrimmedString here, a String on the wire; asyncua 2.1 knows only OPC UA's own type of that name, and its clients
# cannot load a structure that has another.
_TEXT = _STRING
_OUR = 1000
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
_STRUCTURES: tuple[tuple[str, int, int, tuple[tuple[str, int, bool], ...]], ...] = (
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
    ("ResultState", _STATE, False),
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
_EVENTS: tuple[tuple[str, int, int, tuple[tuple[str, int], ...]], ...] = (
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
EVENTS = {name: number for name, number, _, _ in _EVENTS}

_ERROR = (("Error", _INT),)
_CAUSE = (("Cause", _INT), ("CauseDescription", _STRING))
_START = (("MeasId", 3015), ("PartId", 3004), ("RecipeId", 3002), ("ProductId", 3003), ("Parameters", -_BASE))
_FILTER = (
    ("ResultState", _STATE),
    ("MeasId", 3015),
    ("PartId", 3004),
    ("ExternalRecipeId", 3002),
    ("InternalRecipeId", 3013),
    ("ExternalConfigurationId", 3008),
    ("InternalConfigurationId", 3008),
    ("ProductId", 3003),
    ("JobId", 3016),
    ("MaxResults", _UINT),
    ("StartIndex", _UINT),
    ("Timeout", _INT),
)
_BY_ID = (("ResultId", 3021), ("Timeout", _INT))


@dataclass(frozen=True, slots=True)
class Method:
    """Its BrowseName, the NodeId on its type, and its arguments (name, data type; negative: an array of it)."""

    name: str
    node: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


_TOP_METHODS = (
    Method("Halt", 7094, _CAUSE, _ERROR),
    Method("Reset", 7093, _CAUSE, _ERROR),
    Method("SelectModeAutomatic", 7095, (), _ERROR),
)
_JOB = (("JobId", 3016), ("Error", _INT))
_AUTO_METHODS = (
    Method("StartSingleJob", 7098, _START, _JOB),
    Method("StartContinuous", 7009, _START, _JOB),
    Method("Stop", 7096, _CAUSE, _ERROR),
    Method("Abort", 7097, _CAUSE, _ERROR),
)
_COMPONENTS = tuple((name, -_BASE if name == "ResultContent" else kind) for name, kind, _ in RESULT_FIELDS[1:])
_RESULT_METHODS = (
    Method("GetResultById", 7026, _BY_ID, (("ResultHandle", 3018), ("Result", 3006), ("Error", _INT))),
    Method(
        "GetResultComponentsById",
        7007,
        _BY_ID,
        (_COMPONENTS[0], ("ResultHandle", 3018), *_COMPONENTS[1:], ("Error", _INT)),
    ),
    Method(
        "GetResultListFiltered",
        7089,
        _FILTER,
        (("IsComplete", _BOOL), ("ResultCount", _UINT), ("ResultHandle", 3018), ("ResultList", -3006), ("Error", _INT)),
    ),
)
METHODS = {method.name: method for method in (*_TOP_METHODS, *_AUTO_METHODS, *_RESULT_METHODS)}


@dataclass(slots=True)
class Space:
    """What the vision system writes to: its nodes by name, the index of the standard's namespace, and the data types' classes."""

    index: int
    system: Node
    top: Node
    auto: Node
    states: dict[str, Node]
    methods: dict[str, Node] = field(default_factory=dict)
    result: dict[str, Node] = field(default_factory=dict)
    classes: dict[str, Any] = field(default_factory=dict)

    def number(self, number: int) -> ua.NodeId:
        """Return the standard's NodeId with this number."""
        return ua.NodeId(number, self.index)


async def build(server: Server, calls: dict[str, Call]) -> Space:
    """Return the space, made in `server`; `calls` has what each method does, by BrowseName."""
    index = await server.register_namespace(NAMESPACE)
    await _data_types(server, index)
    types = await _Types(server, index).make()
    maker = _Maker(server, index)
    system = await maker.object(server.nodes.objects, "VisionSystem", types["VisionSystemType"], ours=True)
    top = await maker.object(system, "VisionStateMachine", types["VisionStateMachineType"])
    auto = await maker.object(top, "AutomaticModeStateMachine", types["VisionAutomaticModeStateMachineType"])
    results = await maker.object(system, "ResultManagement", types["ResultManagementType"])
    space = Space(index, system, top, auto, {})
    for machine, node in (("top", top), ("auto", auto)):
        space.states[machine] = await _current_state(node, maker.name(node, "CurrentState"))
    space.states["top id"], space.states["auto id"] = [
        await space.states[machine].get_child("0:Id") for machine in ("top", "auto")
    ]
    for parent, methods in ((top, _TOP_METHODS), (auto, _AUTO_METHODS), (results, _RESULT_METHODS)):
        for method in methods:
            space.methods[method.name] = await maker.method(parent, method, calls[method.name])
    folder = await maker.object(results, "Results", types["ResultFolderType"])
    await server.load_data_type_definitions()
    # Not what that returns: asyncua makes each class once in a process, and this may be the second server in it.
    structures = (*_STRUCTURES, ("ResultDataType", 3006, 0, ()))
    space.classes = {name: ua.get_type(ua.NodeId(number, index)) for name, number, _, _ in structures}
    latest = await maker.variable(folder, "Latest", 3006, ua.NodeId(2002, index))
    for name, kind, _ in RESULT_FIELDS:
        space.result[name] = await maker.variable(latest, name, kind, ua.NodeId(ua.ObjectIds.BaseDataVariableType))
    space.result[""] = latest
    for node in (server.nodes.server, system, top, auto, results):
        await node.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
    return space


async def _data_types(server: Server, index: int) -> None:
    for name, number, parent in (
        ("Handle", 3018, _UINT),
        ("ResultStateDataType", _STATE, _INT),
    ):
        await server.get_node(ua.NodeId(parent)).add_data_type(ua.NodeId(number, index), ua.QualifiedName(name, index))
    for name, number, encoding, fields in (*_STRUCTURES, ("ResultDataType", 3006, 5018, RESULT_FIELDS)):
        kind = await server.nodes.base_structure_type.add_data_type(
            ua.NodeId(number, index), ua.QualifiedName(name, index)
        )
        await create_encoding(kind, ua.NodeId(encoding, index), ua.QualifiedName("Default Binary", 0))
        made = ua.StructureDefinition()
        made.DefaultEncodingId = ua.NodeId(encoding, index)
        made.BaseDataType = server.nodes.base_structure_type.nodeid
        if any(optional for _, _, optional in fields):
            made.StructureType = ua.StructureType.StructureWithOptionalFields
        made.Fields = [
            new_struct_field(each, _kind(data, index), each == "ResultContent", optional)
            for each, data, optional in fields
        ]
        await kind.write_data_type_definition(made)


class _Types:
    """The object, variable and event types."""

    def __init__(self, server: Server, index: int) -> None:
        self._server, self._index = server, index
        self._made: dict[str, Node] = {}

    async def make(self) -> dict[str, Node]:
        machine = ua.ObjectIds.FiniteStateMachineType
        for name, number, parent in (
            ("VisionSystemType", 1003, ua.ObjectIds.BaseObjectType),
            ("VisionStateMachineType", 1017, machine),
            ("VisionAutomaticModeStateMachineType", 1021, machine),
            ("ResultManagementType", 1007, ua.ObjectIds.BaseObjectType),
            ("ResultFolderType", 1016, ua.ObjectIds.FolderType),
        ):
            self._made[name] = await self._add_type(parent, number, name)
        for name, number, parent, properties in _EVENTS:
            event = self._made[name] = await self._add_type(parent, number, name)
            for field_name, kind in properties:
                await event.add_property(
                    ua.NodeId(0, self._index),
                    ua.QualifiedName(field_name, self._index),
                    None,
                    datatype=_kind(kind, self._index),
                )
        await self._server.get_node(ua.NodeId(ua.ObjectIds.BaseDataVariableType)).add_variable_type(
            ua.NodeId(2002, self._index), ua.QualifiedName("ResultType", self._index), ua.NodeId(3006, self._index)
        )
        await self._states()
        return self._made

    async def _add_type(self, parent: int, number: int, name: str) -> Node:
        return await self._server.get_node(ua.NodeId(parent)).add_object_type(
            ua.NodeId(number, self._index), ua.QualifiedName(name, self._index)
        )

    async def _states(self) -> None:
        top, auto = self._made["VisionStateMachineType"], self._made["VisionAutomaticModeStateMachineType"]
        maker, nodes = _Maker(self._server, self._index), {}
        for name, number, node in (*(state.value for state in State), OPERATIONAL):
            made = await maker.object(
                auto if number > OPERATIONAL[1] else top, name, ua.NodeId(ua.ObjectIds.StateType), number=node
            )
            nodes[name] = made
            await made.add_property(
                ua.NodeId(0, self._index), ua.QualifiedName("StateNumber", 0), number, ua.VariantType.UInt32
            )
        for each in TRANSITIONS:
            kind = ua.NodeId(ua.ObjectIds.TransitionType)
            made = await maker.object(auto if each.number >= 500 else top, each.name, kind, number=each.node)
            await made.add_property(
                ua.NodeId(0, self._index), ua.QualifiedName("TransitionNumber", 0), each.number, ua.VariantType.UInt32
            )
            await made.add_reference(nodes[each.origin], ua.ObjectIds.FromState)
            await made.add_reference(nodes[each.target], ua.ObjectIds.ToState)
            for effect in effects(each):
                await made.add_reference(self._made[effect], ua.ObjectIds.HasEffect)
        for parent, methods in ((top, _TOP_METHODS), (auto, _AUTO_METHODS)):
            for method in methods:
                await maker.method(parent, method, _never, number=method.node)
        for method in _RESULT_METHODS:
            await maker.method(self._made["ResultManagementType"], method, _never, number=method.node)


def effects(transition: Transition) -> tuple[str, ...]:
    """Return the event types that `transition` causes, the first of all that the state changed."""
    more: tuple[str, ...] = ()
    if transition.origin == "Ready" and transition.target in ("SingleExecution", "ContinuousExecution"):
        more = ("JobStartedEventType",)
    elif transition.target == "Ready" and transition.origin != "Initialized":
        more = ("ReadyEventType",)
    elif transition.target == "Error":
        more = ("ErrorEventType",)
    elif transition.name == "ErrorToOperationalAuto":
        more = ("ErrorResolvedEventType",)
    return ("StateChangedEventType", *more)


class _Maker:
    """Adds nodes of the standard's names; those of the instance have the path as their NodeId, in the server's namespace."""

    def __init__(self, server: Server, index: int) -> None:
        self._server, self._index = server, index

    def name(self, parent: Node, name: str) -> ua.NodeId:
        """Return the NodeId of `parent`'s child on the instance."""
        at = parent.nodeid.Identifier
        return ua.NodeId(f"{at}.{name}" if isinstance(at, str) else name, 1)

    async def object(
        self, parent: Node, name: str, kind: Node | ua.NodeId, *, number: int = 0, ours: bool = False
    ) -> Node:
        nodeid = ua.NodeId(number, self._index) if number else self.name(parent, name)
        item = ua.AddNodesItem(
            ParentNodeId=parent.nodeid,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.Organizes if ours else ua.ObjectIds.HasComponent),
            RequestedNewNodeId=nodeid,
            BrowseName=ua.QualifiedName(name, 1 if ours else self._index),
            NodeClass=ua.NodeClass.Object,
            NodeAttributes=ua.ObjectAttributes(DisplayName=ua.LocalizedText(name), EventNotifier=0),
            TypeDefinition=kind.nodeid if isinstance(kind, Node) else kind,
        )
        (result,) = await self._server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self._server.get_node(nodeid)

    async def variable(self, parent: Node, name: str, kind: int, typed: ua.NodeId) -> Node:
        array = name == "ResultContent"
        item = ua.AddNodesItem(
            ParentNodeId=parent.nodeid,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HasComponent),
            RequestedNewNodeId=self.name(parent, name),
            BrowseName=ua.QualifiedName(name, self._index),
            NodeClass=ua.NodeClass.Variable,
            NodeAttributes=ua.VariableAttributes(
                DisplayName=ua.LocalizedText(name),
                DataType=_kind(kind, self._index),
                ValueRank=ua.ValueRank.OneDimension if array else ua.ValueRank.Scalar,
                AccessLevel=ua.AccessLevel.CurrentRead.mask,
                UserAccessLevel=ua.AccessLevel.CurrentRead.mask,
            ),
            TypeDefinition=typed,
        )
        (result,) = await self._server.iserver.isession.add_nodes([item])
        result.StatusCode.check()
        return self._server.get_node(result.AddedNodeId)

    async def method(self, parent: Node, method: Method, call: Call, *, number: int = 0) -> Node:
        nodeid = ua.NodeId(number, self._index) if number else self.name(parent, method.name)
        inputs, outputs = (
            [
                ua.Argument(
                    Name=name,
                    DataType=_kind(abs(kind), self._index),
                    ValueRank=ua.ValueRank.OneDimension if kind < 0 else ua.ValueRank.Scalar,
                )
                for name, kind in arguments
            ]
            for arguments in (method.inputs, method.outputs)
        )
        return await parent.add_method(nodeid, ua.QualifiedName(method.name, self._index), call, inputs, outputs)


async def _current_state(machine: Node, nodeid: ua.NodeId) -> Node:
    state = await machine.add_variable(
        nodeid, ua.QualifiedName("CurrentState", 0), ua.LocalizedText(""), datatype=ua.ObjectIds.LocalizedText
    )
    await state.add_property(
        ua.NodeId(f"{nodeid.Identifier}.Id", 1), ua.QualifiedName("Id", 0), ua.NodeId(), ua.VariantType.NodeId
    )
    return state


async def _never(*_: Any) -> ua.StatusCode:
    """A type's own method is called on no instance."""
    return ua.StatusCode(ua.StatusCodes.BadMethodInvalid)


def _kind(number: int, index: int) -> ua.NodeId:
    return ua.NodeId(number, index if number > _OUR else 0)
