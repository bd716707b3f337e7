"""Events that a browser sends and that no page of ours would: NiceGUI's handlers take them to be their own pages'."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nicegui
from nicegui import Client, background_tasks, core, events, json, ui
from nicegui.element import Element

from cloud.api.page_socket import MAX_MESSAGE_BYTES
from cloud.api.refused_messages import RefusedMessages, Why

_NICEGUI_LOG = logging.getLogger("nicegui")

# What comes of a value that is missing or of another kind. Whatever else goes wrong in there is a fault, and is told as one.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
_OF_A_PAGE = ("handshake", "event", "javascript_response", "ack")
# What an element's value is, where NiceGUI takes whatever comes: text that is none would be kept, and fail wherever it is read.
_VALUES: tuple[tuple[type[Element], tuple[type, ...]], ...] = (
    (ui.input, (str, type(None))),
    (ui.textarea, (str, type(None))),
    (ui.checkbox, (bool,)),
    (ui.switch, (bool,)),
    (ui.expansion, (bool,)),
    (ui.dialog, (bool,)),
)
_HANDLERS = (events.__file__, background_tasks.__file__)
_NICEGUI = str(Path(nicegui.__file__).parent)
_NEW_VALUE = ("update:value", "update:modelValue")
_TELL_AGAIN_S = 600.0
_MOST_PLACES = 256
_MOST_CHARS = 300


def hold_events(refused: RefusedMessages, monotonic: Callable[[], float]) -> None:
    """Have whatever a browser sends refused in a line where it cannot be used, once for this process' NiceGUI.

    Args:
        monotonic: seconds that never go back.
    """
    sio = core.sio
    sio.eio.max_http_buffer_size = MAX_MESSAGE_BYTES
    handlers = {name: inspect.unwrap(sio.handlers["/"][name]) for name in ("connect", *_OF_A_PAGE)}
    handlers["event"] = _fitting(handlers["event"])
    for name in _OF_A_PAGE:
        sio.on(name, _held(handlers[name], name, refused))
    sio.on("connect", _connecting(handlers["connect"], refused))

    async def unknown(*_: Any) -> None:
        refused.add(Why.UNKNOWN, "an event that no page sends")

    async def told(_: str, message: Any = None, *more: Any) -> None:
        # What a page says of itself may be anybody's words, and as many as they like.
        refused.add(Why.LOG, f"{str(message)[:_MOST_CHARS]!a}")

    sio.on("*", unknown)
    sio.on("log", told)
    for each in [each for each in _NICEGUI_LOG.filters if isinstance(each, FewTracebacks)]:
        _NICEGUI_LOG.removeFilter(each)
    _NICEGUI_LOG.addFilter(FewTracebacks(refused, monotonic))


def _held(handler: Callable[..., Any], name: str, refused: RefusedMessages) -> Callable[..., Any]:
    @functools.wraps(handler)
    async def held(*given: Any) -> Any:
        try:
            found = handler(*given)
            return await found if inspect.isawaitable(found) else found
        except _MALFORMED as error:
            refused.add(Why.MALFORMED, f"{name}: {type(error).__name__}")
            return False

    return held


def _fitting(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def fitting(sid: str, message: dict[str, Any]) -> Any:
        client = Client.instances.get(message["client_id"])
        element = client.elements.get(message["id"]) if client is not None else None
        for kind, values in _VALUES:
            if isinstance(element, kind) and element._event_listeners[message["listener_id"]].type in _NEW_VALUE:
                (value,) = map(json.loads, message["args"])
                if not isinstance(value, values):
                    raise TypeError("an element's value is of another kind")
        return handler(sid, message)

    return fitting


def _connecting(handler: Callable[..., Any], refused: RefusedMessages) -> Callable[..., Any]:
    @functools.wraps(handler)
    async def connecting(*given: Any) -> Any:
        try:
            return await handler(*given)
        except _MALFORMED as error:
            refused.add(Why.MALFORMED, f"connect: {type(error).__name__}")
            raise ConnectionRefusedError from error

    return connecting


class FewTracebacks(logging.Filter):
    """Lets what NiceGUI says of a fault into the log once in ten minutes for each place.

    An event of the right form may hold a value that its element has not (a list where there is a name). Where it fails before it
    comes to code of ours it is refused; where a handler of ours fails on it, a line tells so, with its place and no traceback.
    """

    def __init__(self, refused: RefusedMessages, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._refused, self._monotonic = refused, monotonic
        self._told: OrderedDict[str, float] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the log is told."""
        error = record.exc_info[1] if record.exc_info else None
        frames = traceback.extract_tb(error.__traceback__) if error is not None else []
        if error is None or not frames:
            return True
        ours = [frame for frame in frames if not frame.filename.startswith(_NICEGUI)]
        last = (ours or frames)[-1]
        place = f"{type(error).__name__} at {last.filename}:{last.lineno}"
        if isinstance(error, _MALFORMED):
            if not ours:
                self._refused.add(Why.MALFORMED, place)
                return False
            if any(frame.filename in _HANDLERS for frame in frames):
                record.msg, record.args = (
                    f"what a page sent is not understood: {place}: {str(error)[:_MOST_CHARS]!a}",
                    (),
                )
                record.exc_info = record.exc_text = None
        return self._is_news(place)

    def _is_news(self, place: str) -> bool:
        now = self._monotonic()
        if now - self._told.get(place, float("-inf")) < _TELL_AGAIN_S:
            return False
        self._told.pop(place, None)
        self._told[place] = now
        if len(self._told) > _MOST_PLACES:
            self._told.popitem(last=False)
        return True
