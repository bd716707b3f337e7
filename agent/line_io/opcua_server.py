"""asyncua's server, with an end to what a stranger can make it hold: it would gather whatever size a packet announces."""

from __future__ import annotations

from asyncua import Server
from asyncua.common.connection import TransportLimits
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol

from agent.line_io.opcua_security import LineUsers

_SESSIONS, _SUBSCRIPTIONS, _ITEM_QUEUE, _UNHEARD = 16, 64, 1000, 1000
_MESSAGE_BYTES, _CHUNK_BYTES = 1 << 20, 65_535
_ACTIVATION_S = 10.0


class _BoundProtocol(OPCUAProtocol):  # type: ignore[misc]  # asyncua is read without its types
    """One connection; a client whose unread bytes are more than a message has them is hung up on."""

    _buffer: bytes

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > _MESSAGE_BYTES and self.transport is not None:
            self._buffer = b""
            self.transport.abort()


class _BoundBinaryServer(BinaryServer):  # type: ignore[misc]
    def _make_protocol(self) -> OPCUAProtocol:
        return _BoundProtocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)


class BoundServer(Server):  # type: ignore[misc]
    """At most 16 connections, 64 subscriptions and a MiB a message; who opens no session within ten seconds is hung up on."""

    def __init__(self, users: LineUsers) -> None:
        super().__init__(user_manager=users)
        self.limits = TransportLimits(
            max_recv_buffer=_CHUNK_BYTES,
            max_send_buffer=_CHUNK_BYTES,
            max_chunk_count=_MESSAGE_BYTES // _CHUNK_BYTES + 1,
            max_message_size=_MESSAGE_BYTES,
        )
        self.iserver.max_connections, self.iserver.max_subscriptions = _SESSIONS, _SUBSCRIPTIONS
        self.iserver.max_monitored_item_queue_size = _ITEM_QUEUE
        self.iserver.max_unacked_messages_per_subscription = _UNHEARD
        self.iserver.max_pending_activation_seconds = _ACTIVATION_S

    async def start(self) -> None:
        """Listen; as `Server.start` does it, with connections that are bounded. Raises OSError: not at this address."""
        await self._setup_server_nodes()
        await self.iserver.start()
        bound = _BoundBinaryServer(self.iserver, *self._get_bind_socket_info(), self.limits)
        bound.set_policies(self._policies)
        try:
            await bound.start()
        except BaseException:
            await self.iserver.stop()
            raise
        self.bserver = bound
