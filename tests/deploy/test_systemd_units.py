"""The unit files: systemd itself finds no fault in them, they are shut as far as CUDA allows, and the agent lives with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.settings_keys import BundleSettings, LineSettings

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "firmware_config/systemd"
AGENT, FIRST_BOOT = "plumbline-agent.service", "plumbline-firstboot.service"
# `systemd-analyze security` gives 0 (shut) to 10 (open); "OK" is below 4.
MOST_EXPOSED = {AGENT: 2.2, FIRST_BOOT: 2.5}

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


def values(unit: str, key: str) -> list[str]:
    """Return what `unit` sets `key` to, one entry a line of it."""
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def seconds(unit: str, key: str) -> float:
    return float(values(unit, key)[0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the units where scripts/install-agent puts them, all drop-ins in force, and the programs they name."""
    etc = tmp_path / "etc/systemd/system"
    etc.mkdir(parents=True)
    for file in UNITS.glob("*.service"):
        shutil.copy(file, etc)
    for unit in (AGENT, "plumbline-agent@.service"):
        folder = etc / f"{unit}.d"
        folder.mkdir()
        for file in UNITS.glob("dropin-*.conf"):
            shutil.copy(file, folder)
    for program in ("opt/plumbline/current/bin/plumbline-agent", "opt/plumbline/current/bin/python", "bin/systemctl"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    system = Path("/lib/systemd/system")
    for target in ("multi-user.target", "basic.target", "sysinit.target", "shutdown.target"):
        shutil.copy(system / target, etc)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, "plumbline-agent@line3.service", FIRST_BOOT])
def test_systemd_verifies_the_unit(root: Path, unit: str) -> None:
    assert verify(root, unit) == []


@needs_systemd
def test_systemd_would_say_so_if_a_key_were_wrong(root: Path) -> None:
    file = root / "etc/systemd/system" / AGENT
    file.write_text(file.read_text().replace("WatchdogSec=30", "WatchdogSecs=30"))
    assert any("WatchdogSecs" in line for line in verify(root, AGENT))


def verify(root: Path, unit: str) -> list[str]:
    """Return what `systemd-analyze verify` says about our units; it may miss units of the system that this root has not."""
    done = subprocess.run(
        ("systemd-analyze", "verify", f"--root={root}", "--man=no", unit), capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "plumbline" in line]
    return said or ([done.stderr] if done.returncode and "plumbline" in done.stderr else [])


@needs_systemd
@pytest.mark.parametrize("unit", [AGENT, FIRST_BOOT])
def test_its_exposure_stays_below_a_figure(unit: str) -> None:
    done = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / unit)),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(rf"exposure level for {re.escape(unit)}: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    print(found[0])
    assert float(found[1]) <= MOST_EXPOSED[unit]


def test_cuda_and_the_clock_question_are_left_what_they_need() -> None:
    keys = {line.partition("=")[0] for line in (UNITS / AGENT).read_text().splitlines() if not line.startswith("#")}
    # PrivateDevices hides CUDA's nodes; CUDA writes the code it runs; ProtectClock forbids adjtimex even to those who only ask.
    assert keys & {"PrivateDevices", "MemoryDenyWriteExecute", "ProtectClock", "PrivateNetwork"} == set()
    allowed = " ".join(values(AGENT, "DeviceAllow"))
    for node in ("char-video4linux", "char-nvidia*", "/dev/nvidia0", "/dev/nvidia-uvm", "/dev/nvmap", "/dev/nvhost-ctrl-gpu",
                 "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/ctrl", "char-drm"):  # fmt: skip
        assert node in allowed
    assert values(AGENT, "DevicePolicy") == ["closed"]
    assert "adjtimex" in values(AGENT, "SystemCallFilter")[0]


def test_it_restarts_often_enough_for_the_agent_to_leave_a_bundle_that_kills_it() -> None:
    burst, interval_s = seconds(AGENT, "StartLimitBurst"), seconds(AGENT, "StartLimitIntervalSec")
    assert burst > 2 * BundleSettings().crash_loop
    # And a station that cannot start at all is left alone before the interval is over, not restarted for ever.
    assert burst * seconds(AGENT, "RestartSec") < interval_s
    assert values(AGENT, "Restart") == ["on-failure"]


def test_the_agent_mends_itself_before_its_manager_loses_patience() -> None:
    assert seconds(AGENT, "WatchdogSec") >= 3 * LineSettings().wedged_s
    assert seconds(AGENT, "TimeoutStopSec") > 10 + 10 + 8  # the line, the disk, the loops beside it (agent.wiring)
    assert (values(AGENT, "Type"), values(AGENT, "NotifyAccess")) == (["notify"], ["main"])


def test_the_template_differs_from_the_unit_in_names_only() -> None:
    def plain(name: str) -> list[str]:
        lines = (UNITS / name).read_text().replace("/plumbline/%i", "/plumbline").replace("=plumbline/%i", "=plumbline")
        return [line.replace(" %i", "") for line in lines.splitlines()[2:]]

    assert plain("plumbline-agent@.service") == plain(AGENT)
    assert (UNITS / "plumbline-agent@.service").read_text().count("%i") == 8


def test_no_capability_but_for_a_port_below_1024() -> None:
    assert values(AGENT, "CapabilityBoundingSet") == values(AGENT, "AmbientCapabilities") == [""]
    only = "CAP_NET_BIND_SERVICE"
    assert values("dropin-port-502.conf", "CapabilityBoundingSet") == [only]
    assert values("dropin-port-502.conf", "AmbientCapabilities") == [only]


def test_the_first_boot_looks_where_it_waits_for_a_file() -> None:
    waited_for = {each.removeprefix("|") for each in values(FIRST_BOOT, "ConditionPathExists")}
    (command,) = values(FIRST_BOOT, "ExecStart")
    assert waited_for == {word for word in command.split() if word.endswith(".toml")}
    assert len(waited_for) == 3


@needs_systemd
def test_sysusers_and_tmpfiles_make_the_user_and_its_folders(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None or shutil.which("systemd-tmpfiles") is None:
        pytest.skip("no systemd-sysusers here")
    (tmp_path / "etc").mkdir()
    run = {"capture_output": True, "text": True, "check": False}
    made = subprocess.run(("systemd-sysusers", f"--root={tmp_path}", str(UNITS / "plumbline.sysusers")), **run)  # type: ignore[call-overload]
    assert made.returncode == 0, made.stderr
    (line,) = [each for each in (tmp_path / "etc/passwd").read_text().splitlines() if each.startswith("plumbline:")]
    assert line.endswith(":/var/lib/plumbline:/usr/sbin/nologin")
    made = subprocess.run(
        ("systemd-tmpfiles", f"--root={tmp_path}", "--create", str(UNITS / "plumbline.tmpfiles")), **run
    )  # type: ignore[call-overload]
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "etc/plumbline").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "var/lib/plumbline").is_dir()


def test_the_journal_is_bounded_and_nothing_is_rotated() -> None:
    text = (UNITS / "journald-plumbline.conf").read_text()
    for key in ("SystemMaxUse", "SystemKeepFree", "RuntimeMaxUse", "RateLimitBurst", "MaxRetentionSec"):
        assert re.search(rf"^{key}=\d", text, re.MULTILINE)
    assert not list(UNITS.glob("*logrotate*"))
