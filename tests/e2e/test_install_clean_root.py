"""The whole life of an installed agent in a clean Debian made with debootstrap: its own user, its own Python, a system that may
only be read. Takes minutes and Debian's mirror."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.rtsp_server import RtspServer
from tests.installed_station import (
    DIES_ON_THE_LINE,
    NEVER_STARTS,
    UNIT,
    Machine,
    WheelHouse,
    serve_a_line,
    unwell,
    wait_until,
)
from tests.wheel_house import ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("debootstrap") is None, reason="needs root and debootstrap"),
]


def mirror() -> tuple[str, str]:
    """Return Debian's mirror that apt here is set to, and this system's suite."""
    said = subprocess.run(("apt-cache", "policy"), capture_output=True, text=True, check=False).stdout
    suite = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    found = suite and re.search(rf"(https?://\S+|file:\S+) {suite[1]}/main ", said)
    if suite is None or not found:
        pytest.skip("apt here knows no Debian")
    return found[1], suite[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A minimal Debian with Python and nothing of ours."""
    folder = tmp_path_factory.mktemp("debian") / "root"
    address, suite = mirror()
    folder.parent.chmod(0o755)
    done = subprocess.run(
        ("debootstrap", "--variant=minbase", "--include=python3,python3-venv", suite, str(folder), address),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"debootstrap: {done.stdout[-300:]}")
    # A mount of its own, as a booted system's root is: what the strict service mounts stays in its own namespace.
    subprocess.run(("mount", "--bind", str(folder), str(folder)), check=True)
    subprocess.run(("mount", "--make-private", str(folder)), check=True)
    subprocess.run(("mount", "-t", "proc", "proc", str(folder / "proc")), check=True)
    for each in ("scripts/install-agent", "tests/service_manager.py"):
        (folder / "srv" / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / each, folder / "srv" / each)
    yield folder
    subprocess.run(("umount", str(folder / "proc"), str(folder)), check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def house(root: Path, tmp_path_factory: pytest.TempPathFactory) -> WheelHouse:
    """The wheel house, within the root too: what a USB stick would hold."""
    made = WheelHouse(tmp_path_factory.mktemp("house"))
    usb = root / "media/usb"
    usb.mkdir(parents=True)
    shutil.copytree(made.parts, usb / "parts")
    shutil.copy(made.lock, usb)
    return made


@pytest.fixture(scope="module")
def machine(root: Path) -> Iterator[Machine]:
    units, config = "/etc/systemd/system", "/etc/plumbline/agent.toml"
    made = Machine(root, "", units, "/run/manager", config, "/var/lib/plumbline", strict=True)
    yield made
    made.manage("stop")


def put(root: Path, house: WheelHouse, number: str, changes: dict[str, str] | None = None) -> list[str]:
    """Return how to ask for a version of this checkout from the USB stick."""
    wheel = house.version(number, changes)
    shutil.copy(wheel, root / "media/usb")
    where = ["--wheel", f"/media/usb/{wheel.name}", "--from", "/media/usb/parts", "--lock", "/media/usb/lock.txt"]
    return [*where, "--with", "camera,plc"]


def test_the_life_of_a_station(root: Path, house: WheelHouse, machine: Machine) -> None:
    # An image of a machine that has cameras: the groups of their nodes are there.
    machine.command(["groupadd", "--system", "render"])

    done = machine.install_agent("install", *put(root, house, "0.2.0"), "--station", "line7")
    assert done.returncode == 0, done.stderr
    first = machine.status()["current"]
    assert unwell(done.stdout + done.stderr) == []
    assert float(done.stdout.split(" MB  plumbline-edge[agent]")[0].split()[-1]) <= 180
    assert machine.inside("/usr/local/bin/plumbline-agent").readlink() == Path(
        "/opt/plumbline/current/bin/plumbline-agent"
    )

    # The service runs as its own user, in its groups, without a way up, and sees a system it cannot write.
    user = int(machine.command(["id", "-u", "plumbline"]).stdout)
    wait_until(lambda: {"READY=1", "WATCHDOG=1"} <= set(machine.said()))
    process = Path("/proc") / str(machine.main_process())
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(user)] * 4
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"].strip()) == (0, 0, "1")
    groups = machine.command(["getent", "group", "video", "render"]).stdout.splitlines()
    assert set(status["Groups"].split()) >= {line.split(":")[2] for line in groups}
    options = [line.split()[5] for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/"]
    assert options and options[-1].startswith("ro,")
    assert "/var/lib/plumbline" in machine.command(["getent", "passwd", "plumbline"]).stdout
    assert stat.S_IMODE(machine.inside("/var/lib/plumbline").stat().st_mode) == 0o750
    assert stat.S_IMODE(machine.inside(machine.config).stat().st_mode) == 0o640
    assert machine.inside("/etc/systemd/journald.conf.d/plumbline.conf").exists()

    with RtspServer() as camera:
        serve_a_line(machine, camera.url, parts=200)

        # An upgrade under a line: its settings stay, its parts go on, the version before is kept.
        settings = machine.inside(machine.config).read_text()
        done = machine.install_agent("upgrade", *put(root, house, "0.3.0"))
        assert done.returncode == 0, done.stderr
        second = machine.status()["current"]
        assert (second[:6], machine.status()["previous"]) == ("0.3.0-", first)
        assert machine.inside(machine.config).read_text() == settings
        serve_a_line(machine, camera.url, parts=20)

        # Two versions that must not stay: one is found out before the line is touched, one by the line itself.
        process_before = machine.main_process()
        done = machine.install_agent("upgrade", *put(root, house, "0.4.0", NEVER_STARTS))
        assert done.returncode == 1 and "does not start" in done.stderr
        assert (machine.status()["current"], machine.main_process()) == (second, process_before)
        done = machine.install_agent("upgrade", *put(root, house, "0.4.1", DIES_ON_THE_LINE))
        assert done.returncode == 1 and f"{second} runs again" in done.stderr
        assert (machine.status()["current"], machine.status()["previous"]) == (second, first)
        assert machine.status()["service"] == "active"
        serve_a_line(machine, camera.url, parts=20)

        assert machine.install_agent("rollback").returncode == 0
        assert (machine.status()["current"], machine.status()["previous"]) == (first, second)
        serve_a_line(machine, camera.url, parts=20)

    # A third good version: only two are kept.
    done = machine.install_agent("upgrade", *put(root, house, "0.5.0"))
    assert done.returncode == 0, done.stderr
    kept = {path.name for path in machine.inside("/opt/plumbline/versions").iterdir()}
    assert kept == {first, machine.status()["current"]}

    assert machine.install_agent("uninstall").returncode == 0
    assert machine.inside("/var/lib/plumbline/state/agent.sqlite").exists() and machine.inside(machine.config).exists()
    assert not machine.inside(f"/etc/systemd/system/{UNIT}").exists()
    assert machine.install_agent("uninstall", "--purge").returncode == 0
    left = [
        path
        for path in ("etc/plumbline", "var/lib/plumbline", "opt/plumbline", "usr/local/bin/plumbline-agent")
        if (root / path).exists()
    ]
    assert left == []
    assert machine.command(["id", "plumbline"]).returncode != 0


def test_an_image_is_made_from_outside_and_becomes_a_station_at_its_first_boot(
    root: Path, house: WheelHouse, tmp_path: Path
) -> None:
    provision = tmp_path / "plumbline-provision.toml"
    provision.write_text('url = "https://127.0.0.1:1"\ntoken = "t"\nca_sha256 = "ab"\n')
    words = ("--root", str(root), "--wheel", str(house.wheel), "--from", str(house.parts), "--lock", str(house.lock))
    clean = {key: value for key, value in os.environ.items() if key not in ("PIP_CERT", "PIP_FIND_LINKS")}
    run = {"capture_output": True, "text": True, "check": False, "env": clean | {"PIP_CONFIG_FILE": os.devnull}}
    installer = str(ROOT / "scripts/install-agent")
    done = subprocess.run((installer, "install", *words, "--provision", str(provision)), **run)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    wants = root / "etc/systemd/system/multi-user.target.wants"
    assert {path.name: str(path.readlink()) for path in wants.glob("plumbline*")} == {
        unit: f"/etc/systemd/system/{unit}" for unit in (UNIT, "plumbline-firstboot.service")
    }
    # It has no name and no settings of its own: an image starts many stations.
    assert not (root / "etc/plumbline/agent.toml").exists()
    assert stat.S_IMODE((root / "etc/plumbline/provision.toml").stat().st_mode) == 0o600
    assert not list((root / "opt/plumbline").glob(".staged*"))
    # The first boot: no plant answers there, so the file stays for the next one, and why is said.
    first_boot = (root / "etc/systemd/system/plumbline-firstboot.service").read_text()
    command = (
        next(line for line in first_boot.splitlines() if line.startswith("ExecStart="))
        .removeprefix("ExecStart=")
        .split()
    )
    booted = subprocess.run(("chroot", str(root), *command), capture_output=True, text=True, check=False)
    assert booted.returncode == 75 and "is kept" in booted.stderr
    assert (root / "etc/plumbline/provision.toml").exists()
    done = subprocess.run((installer, "uninstall", "--purge", "--root", str(root)), **run)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    assert not (root / "opt/plumbline").exists() and not list(wants.glob("plumbline*"))
    assert not (root / "var/cache/plumbline").exists()
