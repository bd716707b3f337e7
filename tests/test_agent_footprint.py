"""A station is small: what `[agent]` installs, and what a running agent loads (DESIGN 2)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

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


def test_a_station_that_ran_has_loaded_no_random_generators_of_numpys(tmp_path: Path) -> None:
    # They are 6 MB of memory for three dice.
    (tmp_path / "images").mkdir()
    Image.new("L", (64, 64), 90).save(tmp_path / "images" / "part.png")
    config = tmp_path / "agent.toml"
    config.write_text('station = "s"\nhome = "state"\n[source]\nkind = "folder"\nfolder = "images"\nloop = false\n'
                      '[api]\nport = 0\n[broker]\nhost = ""\n')  # fmt: skip
    code = "import sys\nfrom agent.__main__ import main\nmain(sys.argv[1:])\nprint('numpy.random' in sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", code, "run", "--config", str(config)),
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "stopped after 1 frames" in done.stderr
    assert done.stdout.strip() == "False"
