"""scripts/setup on a machine that has everything, and on machines that lack something."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What scripts/setup itself calls; everything else is absent from the bare machine.
TOOLS = ("bash", "cat", "cut", "dirname", "env", "ln", "sha256sum")
STAMPED = ("pyproject.toml", "constraints.txt", "scripts/setup")
# Where setup looks for a broker besides PATH; the bare machine must not see this machine's.
ELSEWHERE = ":/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def stamp(tree: Path) -> str:
    return hashlib.sha256(b"".join((tree / name).read_bytes() for name in STAMPED)).hexdigest()


class BareMachine:
    """A copy of the tree's set-up files, and a PATH with a handful of tools."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.path = folder / "tree", folder / "path"
        self.path.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, f"no {tool} on this machine"
            (self.path / tool).symlink_to(found)
        (self.tree / "scripts").mkdir(parents=True)
        for name in STAMPED:
            shutil.copy(ROOT / name, self.tree / name)
        script = self.tree / "scripts/setup"
        assert ELSEWHERE in script.read_text()
        script.write_text(script.read_text().replace(ELSEWHERE, ""))

    def add_program(self, name: str, text: str = "#!/bin/sh\nexit 1\n") -> Path:
        program = self.path / name
        program.write_text(text)
        program.chmod(0o755)
        return program

    def add_environment(self) -> None:
        """Make a .venv that is stamped as installed, so that pip has nothing to do."""
        (self.tree / ".venv/bin").mkdir(parents=True)
        (self.tree / ".venv/bin/python").symlink_to(sys.executable)
        (self.tree / ".venv/plumbline.stamp").write_text(stamp(self.tree))

    def set_up(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (self.path / "bash", self.tree / "scripts/setup"),
            env={"PATH": str(self.path), "HOME": str(self.tree)},
            capture_output=True,
            text=True,
            timeout=200,
        )


@pytest.fixture
def machine(tmp_path: Path) -> BareMachine:
    return BareMachine(tmp_path)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=200)


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Return each entry of `folder` and of its bin/ with its times: what a change would move."""
    entries = [*folder.iterdir(), *(folder / "bin").iterdir()]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in entries}


def test_a_second_setup_only_says_ready_and_changes_nothing() -> None:
    venv = ROOT / ".venv"
    if (venv / "plumbline.stamp").read_text() != stamp(ROOT):
        pytest.fail("a pin was edited since the last ./scripts/setup: run it first")
    before, started = everything_in(venv), time.monotonic()
    done = run(ROOT / "scripts/setup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "[setup] ready\n")
    assert everything_in(venv) == before
    assert time.monotonic() - started < 60  # a set-up from scratch takes minutes


def test_without_broker_and_apt_it_says_which_package_to_install(machine: BareMachine) -> None:
    machine.add_environment()
    done = machine.set_up()
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no mosquitto on PATH, and no apt-get to fetch it: install")
    for advice in ("'mosquitto'", "brew install mosquitto", "dnf install mosquitto", "run again"):
        assert advice in line


def test_after_the_package_is_installed_it_goes_on(machine: BareMachine) -> None:
    machine.add_environment()
    assert machine.set_up().returncode == 1
    broker = machine.add_program("mosquitto")
    done = machine.set_up()
    assert (done.returncode, done.stderr) == (0, f"[setup] using the broker {broker}\n[setup] ready\n")
    assert (machine.tree / ".venv/bin/mosquitto").resolve() == broker
    assert machine.set_up().stderr == "[setup] ready\n"


def test_when_apt_has_no_mosquitto_it_says_so_and_where_to_look(machine: BareMachine) -> None:
    machine.add_environment()
    for name in ("apt-get", "apt-cache", "dpkg"):
        machine.add_program(name)
    for tool in ("mkdir", "grep", "sort"):
        (machine.path / tool).symlink_to(str(shutil.which(tool)))
    done = machine.set_up()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: apt-get could not download mosquitto; see ")
    assert "install the package 'mosquitto' yourself" in done.stderr
    assert not (machine.tree / ".venv/bin/mosquitto").exists()


@pytest.mark.parametrize("old", [False, True], ids=["no Python", "an old Python"])
def test_without_a_python_it_says_how_to_get_one(machine: BareMachine, old: bool) -> None:
    if old:
        pretends = "import sys; code = sys.argv[1]; sys.version_info = (3, 9, 18); exec(code)"
        machine.add_program("python3", f"#!/bin/sh\nexec '{sys.executable}' -c '{pretends}' \"$2\"\n")
    done = machine.set_up()
    assert done.returncode == 1
    assert "error: no Python >= 3.10 on PATH (install one, e.g. 'apt-get install python3" in done.stderr


def test_an_edited_pin_is_installed_again(machine: BareMachine) -> None:
    machine.add_environment()
    machine.add_program("mosquitto")
    python = machine.tree / ".venv/bin/python"
    python.unlink()
    python.write_text('#!/bin/sh\necho "$@" >&2\n')
    python.chmod(0o755)
    with (machine.tree / "constraints.txt").open("a") as pins:
        pins.write("\nsomething==1.0\n")
    first, second = machine.set_up(), machine.set_up()
    assert first.returncode == 0, first.stderr
    assert "-m pip install" in first.stderr
    assert "-c constraints.txt" in first.stderr
    assert second.stderr == "[setup] ready\n"


def test_an_installation_that_failed_is_tried_again(machine: BareMachine) -> None:
    machine.add_environment()
    machine.add_program("mosquitto")
    (machine.tree / ".venv/plumbline.stamp").unlink()
    python = machine.tree / ".venv/bin/python"
    python.unlink()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    for _ in range(2):
        done = machine.set_up()
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: pip could not install the dependencies")


@pytest.mark.parametrize("script", ["setup", "test", "check", "fix", "bench", "demo"])
def test_every_script_is_executable_and_says_its_usage_at_the_top(script: str) -> None:
    path = ROOT / "scripts" / script
    assert os.access(path, os.X_OK)
    head = path.read_text().splitlines()[:8]
    assert head[0].startswith("#!/usr/bin/env ")
    assert any("usage: " in line for line in head)


def test_test_help_says_what_it_does_without_setting_anything_up() -> None:
    done = run(ROOT / "scripts/test", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: ./scripts/test [--slow | --all]" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["--slow", "--all"]


def test_bench_alone_lists_what_there_is() -> None:
    done = run(ROOT / "scripts/bench")
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"loop", "sketch"} <= set(names)
    assert names == sorted(names)


def test_bench_of_something_unknown_is_a_usage_error() -> None:
    done = run(ROOT / "scripts/bench", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr
