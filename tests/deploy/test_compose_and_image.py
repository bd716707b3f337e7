"""deploy/compose.yaml and deploy/Dockerfile.cloud hold together, and every command line in deploy/ is one of the real command's."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.__main__ import main
from cloud.settings import load_settings
from tests.deploy.kustomize_files import DEPLOY, KUBERNETES, ROOTS, Rendered, containers, documents

ROOT = DEPLOY.parent
SERVICE_FIELDS = {
    "build", "cap_add", "cap_drop", "command", "depends_on", "environment", "healthcheck", "hostname", "image",
    "network_mode", "ports", "profiles", "read_only", "restart", "security_opt", "shm_size", "tmpfs", "ulimits", "user",
    "volumes",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "compose.yaml")
    return found


def test_services_depend_on_services_that_can_tell_their_health(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {"broker-0", "broker-1", "postgres", "serve", "ingest", "train"} == set(services)
    for name, service in services.items():
        assert set(service) <= SERVICE_FIELDS, name
        for other, how in service.get("depends_on", {}).items():
            assert other in services and how["condition"] == "service_healthy"
            own = services[other].get("healthcheck")
            assert own or "plumbline-cloud" in services[other]["image"], f"{other} tells no health"
            assert not (own or {}).get("disable")
    assert services["train"]["profiles"] == ["train"], "training starts only when asked for"


def test_services_are_allowed_as_little_as_they_need(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"], name
        if name != "postgres":  # its entry point gives the data folder to its user and then steps down
            assert service["read_only"] and service["user"] == "10001:10001"


def test_volumes_and_variables_are_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{[^}]*\}", "$", volume).split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), volume
            elif not source.startswith("$"):
                assert source in compose["volumes"], f"{name}: {volume}"
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    must = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(line.split("=", 1) for line in (DEPLOY / "env.example").read_text().splitlines() if "=" in line)
    assert must == {"PLUMBLINE_HOME", "PLUMBLINE_DB_PASSWORD"} <= set(example) <= asked
    assert example["PLUMBLINE_DB_PASSWORD"] == ""


def test_brokers_share_no_folder_and_no_port(compose: dict[str, Any]) -> None:
    brokers = [compose["services"][f"broker-{number}"] for number in (0, 1)]
    assert brokers[0]["volumes"] != brokers[1]["volumes"] and brokers[0]["ports"] != brokers[1]["ports"]
    shards = load_settings(DEPLOY / "compose" / "cloud.toml").broker.shards
    assert [shard.split(":")[0] for shard in shards] == ["broker-0", "broker-1"]


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("cloud.toml")), ids=lambda path: path.parent.name)
def test_every_cloud_toml_is_one(file: Path) -> None:
    settings = load_settings(file)
    assert settings.database_url().startswith("postgresql+psycopg://plumbline@postgres:5432/")
    assert "://" in settings.database_url() and ":" not in settings.database_url().split("@")[0].split("://")[1]


def command_lines() -> list[list[str]]:
    found = []
    for root in ROOTS:
        for _, template in Rendered(KUBERNETES / root).pods():
            found += [each["args"] for each in containers(template) if each["image"].startswith("plumbline-cloud")]
    (compose,) = documents(DEPLOY / "compose.yaml")
    found += [each["command"] for each in compose["services"].values() if "plumbline-cloud" in each["image"]]
    image = (DEPLOY / "Dockerfile.cloud").read_text("utf-8")
    found.append(msgspec.json.decode(re.findall(r"^CMD (.*)$", image, re.MULTILINE)[-1].encode()))
    for page in (DEPLOY / "README.md", ROOT / "docs" / "capacity.md"):
        for line in re.findall(r"^(?:kubectl .* -- )?plumbline-cloud (.*)$", page.read_text("utf-8"), re.MULTILINE):
            found.append(shlex.split(line, comments=True))
    return [list(map(str, words)) for words in {tuple(words) for words in found}]


@pytest.mark.parametrize("words", sorted(command_lines()), ids=" ".join)
def test_every_command_line_is_one(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def parse(self: argparse.ArgumentParser, given: Any = None, namespace: Any = None) -> argparse.Namespace:
        parsed.append(REAL(self, given, namespace))
        return argparse.Namespace(run=lambda _: 0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    assert main(words) == 0 and parsed


REAL = argparse.ArgumentParser.parse_args


def test_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile.cloud").read_text("utf-8").replace("\\\n", " ").splitlines()
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert all((ROOT / word).exists() for word in copied)
    packages = re.search(r"^include = \[(.*)\]$", project, re.MULTILINE)
    assert packages and {word.strip(' "*') for word in packages[1].split(",")} <= set(copied)
    extras = re.search(r"\[(cloud[a-z,]*)\]", "\n".join(lines))
    assert extras and all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras[1].split(","))
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"], "a number, so that Kubernetes can tell that it is not root"
