"""A station is small: what `[agent]` installs, and what a running agent loads (DESIGN 2)."""

from __future__ import annotations

import subprocess
import sys

from scripts.releases.dependency_walk import ROOT, installed_by

TOO_MUCH = {"torch", "scipy", "pandas", "sqlalchemy", "fastapi"}


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
