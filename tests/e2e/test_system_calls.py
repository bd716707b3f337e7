"""The unit's filter of system calls lets through everything that an agent with a camera and a PLC does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.health.home_lock import holder_of
from agent.line_io.modbus_map import Bit, Hold, In
from tests.fakes.modbus_plc import ModbusPlc
from tests.fakes.rtsp_server import RtspServer
from tests.fixtures_broker import free_port
from tests.tiny_bundle import write_bundle

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "firmware_config/systemd/plumbline-agent.service"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("strace") is None or shutil.which("systemd-analyze") is None,
        reason="needs strace and systemd-analyze",
    ),
]


def allowed() -> set[str]:
    """Return the system calls that the unit's SystemCallFilter names, groups and groups in groups resolved."""
    (line,) = re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE)
    return {name for word in [*line.split(), "@default"] for name in resolved(word)}


def resolved(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    said = subprocess.run(
        ("systemd-analyze", "syscall-filter", word), capture_output=True, text=True, check=True
    ).stdout
    names = [each.strip() for each in said.splitlines()[1:]]
    return {inner for name in names if name and not name.startswith("#") for inner in resolved(name)}


def test_a_camera_a_plc_and_a_doctor_make_no_call_that_the_unit_forbids(tmp_path: Path) -> None:
    port, trace = free_port(), tmp_path / "trace"
    write_bundle(tmp_path / "first.plb", pass_at=0.5)
    config = tmp_path / "agent.toml"
    with RtspServer() as camera, (tmp_path / "log").open("wb") as log:
        config.write_text(
            f'station = "line7"\nhome = "state"\n[source]\nkind = "rtsp"\nurl = "{camera.url}"\n[broker]\nhost = ""\n'
            f'[line]\ndeadline_ms = 20000.0\n[plc]\nkind = "modbus"\nport = {port}\n[bundle]\npath = "first.plb"\n'
        )
        agent = f"{shlex.quote(sys.executable)} -m agent"
        strace = f"strace -f -qq -e signal=none -o {trace}"
        process = subprocess.Popen(
            shlex.split(f"{strace}.run {agent} run --config {config}"), cwd=ROOT, stdout=log, stderr=log
        )
        try:
            with closing(ModbusPlc.at_last(port, 120.0)) as plc:
                plc.begin()
                plc.until(lambda seen: bool(seen[In.STATE] & Bit.READY), 120.0)
                for number in range(1, 6):
                    plc.ask(number, f"part-{number}")
                    plc.answered(number, 60.0)
                    plc.write(Hold.ACK, number)
            subprocess.run(shlex.split(f"{strace}.reload {agent} reload --config {config}"), cwd=ROOT, check=True)
            subprocess.run(shlex.split(f"{strace}.doctor {agent} doctor --config {config}"), cwd=ROOT, check=False)
        finally:
            # strace with -o takes no signal itself.
            agent_process = holder_of(tmp_path / "state")
            if agent_process is None:
                process.kill()
            else:
                os.kill(agent_process, signal.SIGTERM)
            code = process.wait(120)
    assert code == 0
    # `doctor` is here for the clock: it asks adjtimex as the station does before it reports.
    calls = {
        found
        for file in tmp_path.glob("trace.*")
        for found in re.findall(r"^\d+ +(\w+)\(", file.read_text(), re.MULTILINE)
    }
    assert {"openat", "futex", "sendto", "accept4"} <= calls
    assert calls & {"adjtimex", "clock_adjtime"}
    print(len(calls), "different calls:", *sorted(calls))
    assert calls - allowed() == set()
