"""A real HTTP server that speaks S3 (moto's), which can be stopped and started again on its port."""

from __future__ import annotations

from typing import Any

import pytest


class S3Server:
    """S3 on a loopback port, with one empty bucket `plumbline`."""

    def __init__(self) -> None:
        server = pytest.importorskip("moto.server", reason="moto is not installed: pip install -e '.[dev]'")
        self._kind: Any = server.ThreadedMotoServer
        self._server = self._kind(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port: int = self._server.get_host_and_port()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """As if the store were gone: the port refuses."""
        self._server.stop()

    def start(self) -> None:
        """Come back with what was stored."""
        self._server = self._kind(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
