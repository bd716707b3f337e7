"""The Dockerfiles and scripts of the images: linted, made of files that are there, and allowed as little as they need."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from scripts.releases.dependency_walk import ROOT
from scripts.releases.lock import SETS
from tests.deploy.kustomize_files import documents

DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile.*"))
STEPS = ROOT / "firmware_config" / "image"
SCRIPTS = sorted(STEPS.glob("*.sh"))
JETSON = (DEPLOY / "Dockerfile.jetson").read_text("utf-8")


def tool(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is one of the extra [dev]"
    return found


def instructions(dockerfile: Path) -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text("utf-8"), flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]


def from_the_checkout(dockerfile: Path) -> set[str]:
    """Return what COPY takes, and what a RUN mounts, out of the build's context."""
    found: set[str] = set()
    for line in instructions(dockerfile):
        if line.startswith("COPY ") and "--from=" not in line:
            found |= set(line.split()[1:-1])
        for mount in re.findall(r"--mount=(\S+)", line):
            options = dict(each.split("=", 1) for each in mount.split(",") if "=" in each)
            if "from" not in options and "source" in options:
                found.add(options["source"])
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    done = subprocess.run((tool("hadolint"), "--no-color", dockerfile), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_says_how_it_is_used_and_shellcheck_finds_nothing(script: Path) -> None:
    subprocess.run(("sh", "-n", script), check=True)
    done = subprocess.run((tool("shellcheck"), script), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    text = script.read_text("utf-8")
    assert f"usage: {script.name} " in text and "\nset -eu\n" in text
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_taken_from_the_checkout_is_there_and_sent_to_the_builder(dockerfile: Path) -> None:
    taken = from_the_checkout(dockerfile)
    assert {"pyproject.toml", "agent", "contract", "cloud", "firmware_config"} <= taken
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for name in taken:
        assert (ROOT / name).exists(), name
        for path in (PurePosixPath(name), *PurePosixPath(name).parents[:-1]):
            assert not any(fnmatch(str(path), pattern) for pattern in ignored), f"{name} is in .dockerignore"
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= taken
    linked = [path for path in (ROOT / "cloud").rglob("*") if path.is_symlink()]
    assert {str(path.resolve().relative_to(ROOT)) for path in linked} <= taken, "what links of the code lead to"


def test_what_the_builder_is_not_sent_is_what_no_image_needs() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    assert {".git", ".venv*", "tests", "**/*.pem", "**/secrets"} <= ignored


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage of the Jetson's image, by its name; the last is ""."""
    found: dict[str, list[str]] = {}
    for line in instructions(DEPLOY / "Dockerfile.jetson"):
        if line.startswith("FROM "):
            words = line.split()
            name = words[3] if len(words) > 3 else ""
            assert name not in found
            found[name] = []
        if found:
            found[list(found)[-1]].append(line)
    return found


def test_every_choice_of_an_argument_is_a_stage() -> None:
    there = stages()
    known = ("7.2", "6.2")
    assert {name.split("-")[1] for name in there if name.startswith("builder-")} == set(known)
    assert {name.split("-")[1] for name in there if name.startswith("runtime-")} == set(known)
    assert {name.split("-")[1] for name in there if name.startswith("ort-")} == {"source", "wheel", "cpu"}
    assert {name.split("-")[1] for name in there if name.startswith("jetson-")} == {"yes", "no"}
    for version in known:
        done = subprocess.run((STEPS / "jetpack.sh", version, "python"), capture_output=True, text=True, check=True)
        for what in SETS:
            assert (ROOT / "firmware_config/locks" / f"{what}-{done.stdout.strip()}-aarch64.txt").exists()
    for line in (line for lines in there.values() for line in lines):
        for taken in re.findall(r"COPY --from=(\S+)", line):
            assert taken in there


def test_the_agent_s_stage_asserts_the_gpus_and_installs_nothing_of_the_cloud() -> None:
    text = "\n".join(stages()["agent"])
    assert "check-runtime.sh" in text and '[ "${ORT}" = cpu ] ||' in text, "no way around it but a runtime for the CPU"
    assert "ARG SET=agent\n" in JETSON and "check-size.sh" in text
    assert not re.search(r"\[cloud|pip install", JETSON)


def test_it_runs_as_nobody_special_on_a_read_only_root_and_tells_its_health() -> None:
    last = stages()[""]
    assert [line for line in last if line.startswith("USER ")] == ["USER ${UID}"], (
        "a group would leave out video and render"
    )
    assert "ARG UID=10001" in last and "VOLUME /var/lib/plumbline" in last and "STOPSIGNAL SIGTERM" in last
    health = next(line for line in last if line.startswith("HEALTHCHECK "))
    assert "firmware_config.image.healthy" in health
    labels = next(line for line in last if line.startswith("LABEL "))
    assert {"title", "description", "licenses", "version", "revision"} <= set(
        re.findall(r"opencontainers.image.(\w+)=", labels)
    )
    shown = re.search(r"docker run -d(?:.|\n)*?plumbline-station$", JETSON, re.MULTILINE)
    assert shown
    for option in (
        "--runtime nvidia",
        "--read-only",
        "--tmpfs /tmp",
        "--cap-drop ALL",
        "no-new-privileges",
        "--device /dev/video0",
    ):
        assert option in shown[0]


def test_the_station_s_compose_file_is_as_strict_as_the_line_in_the_dockerfile() -> None:
    (compose,) = documents(DEPLOY / "compose.station.yaml")
    station = compose["services"]["station"]
    assert station["read_only"] and station["cap_drop"] == ["ALL"] and station["init"]
    assert "no-new-privileges:true" in station["security_opt"] and station["tmpfs"] == ["/tmp:size=64m"]
    assert station["build"]["dockerfile"] == "deploy/Dockerfile.jetson" and "nvidia" in station["runtime"]
    assert [volume.split(":")[-1] for volume in station["volumes"]] == ["ro", "/var/lib/plumbline"]
    assert set(compose["volumes"]) == {"state"}


@pytest.mark.parametrize("base", ["UBUNTU_IMAGE", "L4T_JETPACK_IMAGE", "L4T_CUDA_IMAGE"])
def test_bases_have_a_version_and_can_be_held_to_a_digest(base: str) -> None:
    found = re.search(rf"^ARG {base}=(\S+)$", JETSON, re.MULTILINE)
    assert found and re.search(r":[\w.-]+$", found[1]) and ":latest" not in found[1]
    assert f"FROM ${{{base}}} AS" in JETSON
