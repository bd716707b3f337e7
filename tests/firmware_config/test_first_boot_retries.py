"""A first boot without a network enrols once there is one, while the machine runs; what a person must mend is not tried again."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.commands import enrol
from agent.settings import load_settings
from contract.errors import LinkDown
from firmware_config.provisioning.__main__ import TRY_AGAIN, main
from tests.agent.commands.test_enrol_command import Doors
from tests.secure_plant import SecurePlant

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "firmware_config/systemd/plumbline-firstboot.service"
DROPIN = ROOT / "firmware_config/systemd/firstboot-backoff.conf"


def values(key: str, file: Path = UNIT) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", file.read_text(), re.MULTILINE)


class Manager:
    """Walks the unit as systemd does: its conditions, its command, and whether it is started again, with no time between."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (command,) = values("ExecStart")
        program, dash_m, module, *self._words = command.split()
        assert (program, dash_m, module) == ("/opt/plumbline/current/bin/python", "-m", "firmware_config.provisioning")
        self.ended: list[int] = []
        self.waits = False

    def here(self, path: str) -> Path:
        return self._folder / path.lstrip("/")

    def turn(self) -> None:
        """Start the unit, at a boot or after its RestartSec."""
        self.waits = False
        if not any(self.here(each.removeprefix("|")).exists() for each in values("ConditionPathExists")):
            return
        words = [str(self.here(word)) for word in self._words]
        places = [
            "--config",
            str(self.here("/etc/plumbline/agent.toml")),
            "--state",
            str(self.here("/var/lib/plumbline")),
        ]
        code = main([*words, *places, "--user", "nobody"])
        self.ended.append(code)
        prevents = [int(each) for each in values("RestartPreventExitStatus")[0].split()]
        self.waits = values("Restart") == ["on-failure"] and code != 0 and code not in prevents


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    (tmp_path / "etc/plumbline").mkdir(parents=True)
    return Manager(tmp_path)


def test_a_machine_that_boots_before_its_plant_answers_becomes_a_station_while_it_runs(
    tmp_path: Path, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = SecurePlant(tmp_path / "plant")
    capsys.readouterr()
    plant.command("provision", "token", "line9", "--json")
    made = json.loads(capsys.readouterr().out)
    file = manager.here("/etc/plumbline/provision.toml")
    file.write_text("".join(f'{key} = "{made[key]}"\n' for key in ("url", "token", "ca_sha256")))
    for _ in range(2):
        manager.turn()
        assert manager.waits and file.exists() and "was not reached" in capsys.readouterr().err
    doors = Doors(plant)
    try:
        manager.turn()
    finally:
        doors.close()
    assert (manager.ended, manager.waits) == ([TRY_AGAIN, TRY_AGAIN, 0], False)
    assert load_settings(manager.here("/etc/plumbline/agent.toml")).station == "line9" and not file.exists()
    assert made["token"] not in capsys.readouterr().out
    manager.turn()
    assert len(manager.ended) == 3, "the next boot finds no file"


@pytest.mark.parametrize("wrong", ["url = 1", 'url = "http://10.0.0.5"\ntoken = "t"\nca_sha256 = "ab"\n'])
def test_a_mistake_in_the_file_waits_for_a_person(manager: Manager, wrong: str) -> None:
    file = manager.here("/boot/firmware/plumbline-provision.toml")
    file.parent.mkdir(parents=True)
    file.write_text(wrong)
    manager.turn()
    assert (manager.ended, manager.waits, file.read_text()) == ([1], False, wrong)


def test_it_goes_on_for_as_long_as_it_takes_and_waits_at_most_a_quarter_of_an_hour() -> None:
    assert values("StartLimitIntervalSec") == ["0"], "a limit of starts would end it after some"
    assert 30 <= int(values("RestartSec")[0]) <= 300
    first, steps, most = (int(values(key, DROPIN)[0]) for key in ("RestartSec", "RestartSteps", "RestartMaxDelaySec"))
    assert first < int(values("RestartSec")[0]) < most <= 900 and steps > 1


@pytest.mark.parametrize(
    ("said", "version"), [("systemd 255 (255.4-1ubuntu8)\n+PAM", "255"), ("systemd 249 (249.11)", "249"), ("", "0")]
)
def test_install_agent_knows_which_systemd_it_is(tmp_path: Path, said: str, version: str) -> None:
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n[ $1 = --version ] && cat <<'TEXT'\n{said}\nTEXT\n")
    (tmp_path / "systemctl").chmod(0o755)
    script = (ROOT / "scripts/install-agent").read_text()
    found = re.search(r"^systemd_version\(\) \{.*?^\}", script, re.MULTILINE | re.DOTALL)
    assert found is not None
    words = f'set -euo pipefail; systemctl=("{tmp_path}/systemctl"); inside() {{ "$@"; }}; {found[0]}; systemd_version'
    done = subprocess.run(("bash", "-c", words), capture_output=True, text=True, check=True)
    assert done.stdout == version


@pytest.mark.parametrize("knows", [True, False])
def test_units_of_a_version_from_before_the_growing_waits_are_put_in_place_too(tmp_path: Path, knows: bool) -> None:
    package, units = tmp_path / "package", tmp_path / "units"
    shutil.copytree(UNIT.parent, package / "systemd")
    if not knows:
        (package / "systemd" / DROPIN.name).unlink()
    script = (ROOT / "scripts/install-agent").read_text()
    functions = [
        re.search(rf"^{name}\(\) \{{.*?^\}}", script, re.MULTILINE | re.DOTALL)
        for name in ("keep", "put", "put_units", "systemd_version")
    ]
    words = (
        f"""set -euo pipefail
        root= prefix=/opt/plumbline config_folder=/etc/plumbline state=/var/lib/plumbline config={tmp_path}/none changed=
        own_layout=yes user=nobody units={units} memory_max=1G systemctl=(printf "systemd 255 (255.4)")
        inside() {{ "$@"; }}
        package_folder() {{ printf %s {package}; }}
        """
        + "\n".join(each[0] for each in functions if each)
        + "\nput_units 1\n"
    )
    done = subprocess.run(("bash", "-c", words), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (units / f"{UNIT.name}.d/10-plumbline-backoff.conf").exists() == knows
    assert (units / UNIT.name).exists() and (units / "plumbline-agent.service").exists()


def test_a_plant_that_says_not_now_is_not_waited_for_until_systemd_ends_the_attempt(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def refused(args: argparse.Namespace) -> int:
        waits.append(args.wait)
        raise LinkDown("not now")

    monkeypatch.setattr(enrol, "run", refused)
    url = 'url = "https://10.0.0.5"\ntoken = "t"\nca_sha256 = "ab"\n'
    manager.here("/etc/plumbline/provision.toml").write_text(url)
    manager.turn()
    assert manager.ended == [TRY_AGAIN]
    a_request_s = 60
    assert 0 < waits[0] < int(values("TimeoutStartSec")[0]) - 2 * a_request_s


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_knows_the_keys_of_the_growing_waits(tmp_path: Path) -> None:
    told = subprocess.run(("systemd-analyze", "--version"), capture_output=True, text=True, check=True).stdout
    if int(told.split()[1]) < 254:
        pytest.skip("this systemd is older than they are")
    units = tmp_path / "etc/systemd/system"
    (units / f"{UNIT.name}.d").mkdir(parents=True)
    shutil.copy(UNIT, units)
    shutil.copy(DROPIN, units / f"{UNIT.name}.d")
    done = subprocess.run(
        ("systemd-analyze", "verify", f"--root={tmp_path}", "--man=no", UNIT.name),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Unknown key" not in done.stderr
