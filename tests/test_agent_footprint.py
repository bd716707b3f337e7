"""A station is small: what `[agent]` installs, and what a running agent loads (DESIGN 2)."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TOO_MUCH = {"torch", "scipy", "pandas", "sqlalchemy", "fastapi"}


def installed_by(extra: str) -> set[str]:
    """Return the names of everything that `plumbline-edge[extra]` installs here, requirements of requirements included."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    waiting = [Requirement(each) for each in project["dependencies"] + project["optional-dependencies"][extra]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        for wanted in ("", *sorted(requirement.extras)):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            for line in metadata.requires(name) or []:
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": wanted}):
                    inner.marker = None
                    waiting.append(inner)
    return {name for name, _ in seen}


def test_the_agent_extra_installs_none_of_the_heavy_packages() -> None:
    names = installed_by("agent")
    assert {"numpy", "onnxruntime", "tuf", "securesystemslib", "httpx"} <= names
    assert names & TOO_MUCH == set()


def test_the_same_walk_finds_them_in_the_cloud_extra() -> None:
    # Else the test above would pass by looking at nothing.
    assert {"torch", "scipy", "sqlalchemy", "fastapi"} <= installed_by("cloud")


def test_importing_the_agent_and_its_commands_loads_none_of_them() -> None:
    commands = sorted(path.stem for path in (ROOT / "agent/commands").glob("*.py") if path.stem != "__init__")
    modules = ["agent.wiring", "agent.__main__", *(f"agent.commands.{name}" for name in commands)]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", code, *modules), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert set(modules) <= loaded
    assert {name.split(".")[0] for name in loaded} & (TOO_MUCH | {"cloud"}) == set()
