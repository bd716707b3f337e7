"""firmware_config/locks: what a station installs, with hashes, agrees with constraints.txt and with what the extras ask for."""

from __future__ import annotations

import platform as machine
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from contract.errors import InvalidConfig, NotFound
from scripts.releases import lock
from scripts.releases.dependency_walk import ROOT, installed_by
from scripts.releases.lock import LOCKS, PLATFORMS, SETS, Platform, Wheel, pins, wanted_locks

HERE = f"cp3{sys.version_info.minor}-{machine.machine()}"
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")


def wheels_of(text: str) -> Iterator[Wheel]:
    lines = text.splitlines()[2:]
    for comment, line in zip(lines[::2], lines[1::2], strict=True):
        found = re.fullmatch(r"(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})", line)
        assert found and comment.startswith("# "), line
        yield Wheel(found[1], found[2], comment[2:], found[3])


@pytest.mark.parametrize(("what", "platform"), wanted_locks(), ids=lambda each: getattr(each, "name", each))
def test_a_lock_has_the_pinned_version_of_a_wheel_that_loads_there(what: str, platform: Platform) -> None:
    text = (LOCKS / f"{what}-{platform.name}.txt").read_text("utf-8")
    wheels = list(wheels_of(text))
    assert text == lock.written(what, platform, wheels), "as ./scripts/lock writes it"
    pinned = pins(CONSTRAINTS, platform.environment)
    assert {wheel.name: wheel.version for wheel in wheels} == {wheel.name: pinned[wheel.name] for wheel in wheels}
    for wheel in wheels:
        if wheel.name == "pycuda":  # built where it is installed
            assert parse_sdist_filename(wheel.file) == (wheel.name, Version(wheel.version))
            continue
        name, version, _, tags = parse_wheel_filename(wheel.file)
        assert (name, str(version)) == (wheel.name, wheel.version)
        assert {tag.platform for tag in tags} & {"any", *platform.tags}, wheel.file
    for line in _asked(what):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({**platform.environment, "extra": ""}):
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier
            assert canonicalize_name(requirement.name) in {wheel.name for wheel in wheels}


def _asked(what: str) -> list[str]:
    return lock.project_requirements(*SETS[what])


def test_there_is_no_lock_but_these() -> None:
    assert {path.name for path in LOCKS.iterdir()} == {f"{what}-{each.name}.txt" for what, each in wanted_locks()}


@pytest.mark.parametrize("what", sorted(set(SETS) - {"jetson"}))
def test_a_lock_is_complete(what: str) -> None:
    # Of this machine's own platform, since only here is the metadata of every package at hand.
    wheels = wheels_of((LOCKS / f"{what}-{HERE}.txt").read_text("utf-8"))
    assert {wheel.name for wheel in wheels} == installed_by(*SETS[what]) - {"pip"}


def test_pins_are_exact_and_one_a_package() -> None:
    old, new = {"python_version": "3.10"}, {"python_version": "3.12"}
    text = "# why\n\nNumPy==2.2.6 ; python_version < '3.11'\nnumpy==2.4.6 ; python_version >= '3.11'\n"
    assert pins(text, old) == {"numpy": "2.2.6"} and pins(text, new) == {"numpy": "2.4.6"}
    for wrong in ("numpy>=2\n", "numpy==2,<3\n", "numpy\n", "numpy==2\nNumPy==2\n"):
        with pytest.raises(InvalidConfig, match="exact pin"):
            pins(wrong, new)


def test_a_package_without_a_pin_is_said() -> None:
    with pytest.raises(NotFound, match="pins no httpx, msgspec"):
        lock.resolve(("agent",), PLATFORMS[0], "numpy==2.2.6\n")


def test_tags_are_sorted_as_pip_sorts_them_and_stop_at_the_system_s_glibc() -> None:
    tags = Platform(12, "aarch64", 18).tags
    assert tags == ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"]
    assert Platform(12, "x86_64", 5).tags == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]


@pytest.mark.long
def test_the_index_still_has_what_is_locked(capsys: pytest.CaptureFixture[str]) -> None:
    assert lock.main(["--check", "--set", "agent", "--platform", HERE, "--platform", "cp312-aarch64"]) == 0
    assert capsys.readouterr().out.count("as it was") == 2


@pytest.mark.long
def test_pip_installs_the_lock_and_refuses_another_wheel(tmp_path: Path) -> None:
    good = LOCKS / f"agent-{HERE}.txt"
    subprocess.run((sys.executable, "-m", "venv", tmp_path / "venv"), check=True)
    pip = (tmp_path / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    subprocess.run((*pip, "--no-deps", "--require-hashes", "-r", good), check=True)
    subprocess.run((*pip, "--no-deps", ROOT), check=True)
    subprocess.run((tmp_path / "venv/bin/python", "-m", "pip", "check"), check=True)
    said = subprocess.run((tmp_path / "venv/bin/plumbline-agent", "--help"), capture_output=True, text=True, check=True)
    assert "selftest" in said.stdout
    wheel = next(each for each in wheels_of(good.read_text("utf-8")) if each.name == "certifi")
    (tmp_path / "bad.txt").write_text(f"certifi=={wheel.version} --hash=sha256:{'0' * 64}\n")
    command = (*pip, "--force-reinstall", "--no-deps", "--require-hashes", "-r", tmp_path / "bad.txt")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode and "DO NOT MATCH THE HASHES" in refused.stderr
