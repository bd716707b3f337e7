"""`plumbline-agent doctor` on the line's controller."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.commands import doctor_plc
from agent.commands.doctor_checks import Finding, Level
from agent.settings import load_settings
from tests.fakes.modbus_line import Line
from tests.fixtures_broker import Broker, free_port

_LIMIT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def look(folder: Path, plc: str, *, running: bool = False) -> Finding:
    path = folder / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n{plc}')
    return doctor_plc.controller(load_settings(path), running=running)


def test_no_controller_is_no_fault(tmp_path: Path) -> None:
    assert look(tmp_path, "").level is Level.OK


@pytest.mark.parametrize("kind", ["modbus", "opcua"])
def test_a_free_port_on_loopback_is_sound(tmp_path: Path, kind: str) -> None:
    found = look(tmp_path, f'[plc]\nkind = "{kind}"\nport = {free_port()}\n')
    assert (found.level, found.todo) == (Level.OK, "") and "is free for it" in found.found


def test_a_port_that_another_program_holds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = look(tmp_path, f'[plc]\nkind = "modbus"\nport = {port}\n')
    assert found.level is Level.FAIL and "another program" in found.found and str(port) in found.todo


def test_an_address_that_is_not_this_machines(tmp_path: Path) -> None:
    found = look(tmp_path, '[plc]\nkind = "modbus"\nhost = "203.0.113.7"\nport = 1502\n')
    assert found.level is Level.FAIL and "[plc] host" in found.todo


def test_beyond_loopback_nothing_keeps_strangers_out(tmp_path: Path) -> None:
    found = look(tmp_path, f'[plc]\nkind = "modbus"\nhost = "0.0.0.0"\nport = {free_port()}\n')
    assert found.level is Level.WARNING and "no passwords" in found.found


def test_a_library_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_plc, "find_spec", lambda name: None)
    found = look(tmp_path, '[plc]\nkind = "modbus"\n')
    assert found.level is Level.FAIL and "plumbline-edge[plc]" in found.todo


@pytest.mark.skipif(
    os.geteuid() != 0 or int(_LIMIT.read_text()) <= 502, reason="no user here for whom port 502 is out of reach"
)
def test_a_low_port_needs_a_capability() -> None:
    words = (
        "import os, encodings.idna; from agent.commands.doctor_plc import why_not_bound; from agent.line_io import modbus\n"
        "os.setuid(65534); print(why_not_bound('127.0.0.1', 502))\n"
        "try: modbus._bound('127.0.0.1', 502)\n"
        "except modbus.InvalidConfig as error: print(error.one_line())"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.count("CAP_NET_BIND_SERVICE") == done.stdout.count("`install-agent install` once more") == 2, (
        done.stdout
    )


def test_a_running_station_must_listen(tmp_path: Path) -> None:
    port = free_port()
    found = look(tmp_path, f'[plc]\nkind = "modbus"\nport = {port}\n', running=True)
    assert found.level is Level.FAIL and "nobody listens" in found.found
    line = Line()
    found = look(tmp_path, f'[plc]\nkind = "modbus"\nport = {line.port}\n', running=True)
    line.close()
    assert found.level is Level.OK and "answers" in found.found


def test_the_lines_broker_is_asked(tmp_path: Path, broker: Broker) -> None:
    assert look(tmp_path, f'[plc]\nkind = "mqtt"\nport = {broker.port}\n').level is Level.OK
    found = look(tmp_path, f'[plc]\nkind = "mqtt"\nport = {free_port()}\n')
    assert found.level is Level.FAIL and "was not reached" in found.found
