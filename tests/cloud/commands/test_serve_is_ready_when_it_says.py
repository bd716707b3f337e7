"""`serve` names its address when somebody can connect to it, not some time before."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cloud.__main__ import main
from tests.fixtures_broker import free_port


@pytest.mark.slow
def test_the_address_can_be_connected_to_when_it_is_printed(tmp_path: Path) -> None:
    home = tmp_path / "plant"
    assert main(["init", "--home", str(home), "--api-port", str(free_port()), "--broker-port", str(free_port())]) == 0
    command = (sys.executable, "-m", "cloud", "serve", "--config", str(home / "cloud.toml"))
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert server.stdout is not None
        said = next(line for line in server.stdout if line.startswith("dashboard and API on "))
        address = urlsplit(said.split()[-1])
        socket.create_connection((address.hostname, address.port), 60).close()
    finally:
        server.terminate()
        assert server.wait(60) == 0
        if server.stdout is not None:
            server.stdout.close()
