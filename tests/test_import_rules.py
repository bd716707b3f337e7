"""The import rules of ARCHITECTURE.md hold, and would notice: each is broken once in a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("contract", "agent", "cloud")
SIDES = "Both sides stand on the contract and never on each other"
AGENT, CLOUD = "Layers of the agent", "Layers of the cloud"
PURE = "The contract and the pure folders do no I/O and read no clock"
PAHO, TORCH = "Only the mqtt.py files and the broker's roles know paho", "Only retrain and quantize know torch"

FORBIDDEN = [
    (SIDES, "agent.settings", "cloud.settings"),
    (SIDES, "cloud.wiring", "agent.decide"),
    (SIDES, "contract.codec", "agent.decide"),
    (PURE, "contract.ids", "os"),
    (PURE, "contract.sketches.window", "random"),
    (PURE, "agent.decide.intruder", "time"),
    (PURE, "agent.update.intruder", "pathlib"),
    (PURE, "cloud.drift.intruder", "sqlite3"),
    (PURE, "cloud.gate.intruder", "subprocess"),
    (AGENT, "agent.frame_loop", "agent.store"),
    (AGENT, "agent.second_opinions", "agent.uplink"),
    (AGENT, "agent.sources.intruder", "agent.runtime"),
    (AGENT, "agent.decide.intruder", "agent.ports"),
    (AGENT, "agent.ports.intruder", "agent.clock"),
    (CLOUD, "cloud.store.intruder", "cloud.api"),
    (CLOUD, "cloud.improve_loop", "cloud.store"),
    (CLOUD, "cloud.drift.intruder", "cloud.ports"),
    (PAHO, "cloud.api.intruder", "paho"),
    (PAHO, "agent.uplink.intruder", "paho"),
    (TORCH, "cloud.registry.intruder", "torch"),
    (TORCH, "agent.runtime.intruder", "torch"),
]


def copy_to(folder: Path) -> Path:
    """Copy the sources and the rules, and nothing else."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the test's own."""
    return copy_to(tmp_path)


def lint(tree: Path) -> tuple[int, str]:
    """Lint `tree`; return the exit code and the report without its line breaks."""
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        (program, "--no-cache", "--config", tree / ".importlinter"),
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "400", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def inject(tree: Path, module: str, imported: str) -> None:
    """Add `import imported` to `module`, which is made when missing."""
    path = tree.joinpath(*module.split(".")).with_suffix(".py")
    with path.open("a") as source:
        source.write(f"\nimport {imported}\n")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What is said of a copy in which every forbidden import was made: each is to be found, whatever others there are."""
    tree = copy_to(tmp_path_factory.mktemp("broken"))
    for _, module, imported in FORBIDDEN:
        inject(tree, module, imported)
    return lint(tree)


def section_of(rule: str, report: str) -> str:
    """Return what a report says of one broken rule, which it does below the rule's underlined name."""
    found = re.search(rf"^{re.escape(rule)}\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", report, re.MULTILINE | re.DOTALL)
    assert found is not None, report
    return found[1]


def test_the_tree_keeps_every_rule_and_it_is_the_copy_that_is_linted(copy: Path) -> None:
    def files(report: str) -> int:
        found = re.search(r"Analyzed (\d+) files", report)
        assert found is not None
        return int(found[1])

    code, report = lint(copy)
    assert code == 0, report[report.find("Contracts:") :]
    for name in (SIDES, AGENT, CLOUD, PURE, PAHO, TORCH):
        assert re.search(rf"^{re.escape(name)} KEPT", report, re.MULTILINE), name
    (copy / "agent" / "only_here.py").touch()
    assert files(lint(copy)[1]) == files(report) + 1


@pytest.mark.parametrize(("rule", "module", "imported"), FORBIDDEN, ids=lambda value: value if "." in value else None)
def test_a_forbidden_import_breaks_its_rule(broken: tuple[int, str], rule: str, module: str, imported: str) -> None:
    code, report = broken
    assert code == 1, report
    assert re.search(rf"^{re.escape(rule)} BROKEN", report, re.MULTILINE), report
    assert f"{module} -> {imported} (l." in section_of(rule, report)


def test_what_the_rules_allow_is_not_refused(copy: Path) -> None:
    for module, imported in (
        ("agent.decide.newcomer", "contract.codec"),
        ("agent.decide.newcomer", "numpy"),
        ("agent.store.newcomer", "sqlite3"),
        ("agent.wiring", "agent.uplink.mqtt"),
        ("cloud.retrain.newcomer", "torch"),
        ("cloud.quantize.newcomer", "cloud.retrain"),
        ("cloud.wiring", "cloud.broker.mqtt"),
    ):
        inject(copy, module, imported)
    code, report = lint(copy)
    assert code == 0, report[report.find("Contracts:") :]
