"""On a device there is no `cryptography`: signatures are verified in pure Python, and the whole part stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from repository import BUNDLE, NOW, Repository, lay_out

from scripts.benches.tuf_import import measure

ROOT = Path(__file__).parents[3]
LOOK_UP = """
import sys
from pathlib import Path
sys.modules["cryptography"] = None
from agent.slots.tuf_client import TufClient
from contract.errors import PlumblineError
kit, cache, root, name, now = sys.argv[1:]
try:
    print(TufClient.for_folder(Path(kit), Path(cache), Path(root).read_bytes()).look_up_target(name, float(now))[0].size_bytes)
except PlumblineError as error:
    print(error.one_line())
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
print(*sorted(loaded & {"cryptography", "numpy", "httpx", "onnxruntime"}))
"""


def look_up(repo: Repository, folder: Path) -> list[str]:
    kit = lay_out(repo, folder / "kit")
    arguments = (str(kit), str(folder / "tuf"), str(kit / "metadata/1.root.json"), BUNDLE, str(NOW))
    done = subprocess.run(
        (sys.executable, "-c", LOOK_UP, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split("\n")


@pytest.mark.parametrize("spoiled", [False, True])
def test_signatures_are_verified_without_cryptography(repo: Repository, tmp_path: Path, spoiled: bool) -> None:
    repo.everything()
    if spoiled:
        repo.change("timestamp", lambda document: document["signed"].update(version=3))
    said, loaded, _ = look_up(repo, tmp_path)
    assert loaded == ""  # NumPy neither, and a kit needs no HTTP
    assert "signed by 0/1" in said if spoiled else said == "1000"


def test_the_image_side_adds_little_memory() -> None:
    figures = measure(runs=1)
    assert figures.keys() == {"tuf.import_ms", "tuf.import_mb"}
    assert 1 < figures["tuf.import_mb"] <= 40 and figures["tuf.import_ms"] > 0  # the time is for the bench to judge
