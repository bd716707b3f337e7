"""The broker's dynamic-security plugin, asked over MQTT by the administrator's certificate. Knows paho, as mqtt.py does."""

from __future__ import annotations

import json
import queue
import secrets
import ssl
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.errors import LinkDown, RefusedError

_CONTROL = "$CONTROL/dynamic-security/v1"
_RESPONSE = f"{_CONTROL}/response"
# The plugin writes its whole file after each command, and the broker does nothing else meanwhile: 70 ms with 10,000 stations
# on two slow cores (measured), so that these take 3.5 s of the ten that an answer may take.
_COMMANDS_AT_ONCE = 50
# What was done before is done.
_FINE = ("already exists", "not found")


class RolesConnection:
    """One short connection; use it as a context. Not thread-safe."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, client_id: str, *, within_s: float = 10.0) -> None:
        self._host, self._port, self._within_s = host, port, within_s
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._ready: queue.Queue[str] = queue.Queue()
        self._client = paho.Client(
            callback_api_version=CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5
        )
        self._client.tls_set_context(tls)
        self._client.connect_timeout = within_s
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = lambda _c, _u, _f, reason, _p: self._ready.put(str(reason))

    def __enter__(self) -> RolesConnection:
        """Connect.

        Raises:
            LinkDown: the broker is not reached, or refuses this certificate.
        """
        try:
            self._client.connect(self._host, self._port, keepalive=30)
        except (OSError, ValueError) as error:
            raise self._not_reached(str(error)) from error
        self._client.loop_start()
        try:
            why = self._ready.get(timeout=self._within_s)
        except queue.Empty:
            why = f"no answer within {self._within_s:g} s"
        if why:
            self._close()
            raise self._not_reached(why)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close()

    def ask(self, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the plugin's answer to each command. That a thing exists already, or no more, is fine.

        Raises:
            LinkDown: no answer came.
            RefusedError: a command was refused for another reason.
        """
        answers: list[dict[str, Any]] = []
        for begin in range(0, len(commands), _COMMANDS_AT_ONCE):
            # The plugin answers everybody who listens: what another asked is told apart by this word.
            mine = secrets.token_hex(8)
            part = [{**c, "correlationData": mine} for c in commands[begin : begin + _COMMANDS_AT_ONCE]]
            self._client.publish(_CONTROL, json.dumps({"commands": part}).encode(), qos=1)
            got: list[dict[str, Any]] = []
            until = time.monotonic() + self._within_s
            while len(got) < len(part):  # one message may answer some of the commands
                try:
                    responses = self._answers.get(timeout=max(0.0, until - time.monotonic()))["responses"]
                except queue.Empty:
                    raise self._not_reached("its dynamic-security plugin does not answer") from None
                got += [each for each in responses if each.get("correlationData") == mine]
            answers += got
        for answer in answers:
            error = str(answer.get("error", ""))
            if error and not error.endswith(_FINE):
                raise RefusedError(f"the broker's plugin refused {answer.get('command')}: {error}")
        return answers

    def clients(self) -> set[str]:
        """Return the names of those who may speak now."""
        answer = self.ask([{"command": "listClients", "verbose": False, "count": -1, "offset": 0}])[0]
        return {str(name) for name in answer["data"]["clients"]}

    def _close(self) -> None:
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _not_reached(self, why: str) -> LinkDown:
        hint = "is it running, with what `plumbline-cloud provision init` made?"
        return LinkDown(f"the broker at {self._host}:{self._port} was not reached: {why}", hint=hint)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._ready.put(str(reason))
        else:
            client.subscribe(_RESPONSE, 1)

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        self._ready.put(next((str(reason) for reason in reasons if reason.is_failure), ""))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self._answers.put(json.loads(message.payload))
