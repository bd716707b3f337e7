"""What the image side of an update adds to a process: milliseconds of CPU to import, and memory once it verified a root."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from scripts.benches.child import run_child

# A station's environment has none of these: python-tuf then verifies Ed25519 in pure Python, and httpx has no command line.
_ABSENT = ("cryptography", "rich", "click", "pygments")

# The root is made before anything is counted, in a process of its own, since signing needs what stations lack.
_MAKE_ROOT = """
import json
from datetime import datetime, timezone
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root
root = Root(expires=datetime(2100, 1, 1, tzinfo=timezone.utc), consistent_snapshot=True)
signer = CryptoSigner.generate_ed25519()
for role in ("root", "timestamp", "snapshot", "targets"):
    root.add_key(signer.public_key, role)
metadata = Metadata(root)
metadata.sign(signer)
print(json.dumps({"root": metadata.to_bytes().decode()}))
"""
_MEASURE = """
import json, os, sys, time
from pathlib import Path
for name in sys.argv[2].split():
    sys.modules[name] = None
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before_mb, began = resident_mb(), time.process_time()
import httpx
from agent.slots.tuf_client import TufClient
took_s = time.process_time() - began
TufClient.for_folder(Path("/nonexistent"), Path("/nonexistent"), sys.argv[1].encode())
print(json.dumps({"tuf.import_ms": took_s * 1e3, "tuf.import_mb": resident_mb() - before_mb}))
"""


def measure(runs: int = 5) -> dict[str, float]:
    """Return `tuf.import_ms` and `tuf.import_mb`, in an environment with what a station has and no more.

    Everything is counted that a bare interpreter lacks: httpx, urllib3 and the standard library's parts, of which the agent
    has most anyway. Milliseconds are of CPU, the least of `runs` processes; memory is resident, of the same one.

    Raises:
        RefusedError: a process failed.
    """
    made: Mapping[str, object] = run_child((sys.executable, "-c", _MAKE_ROOT))
    command = (sys.executable, "-c", _MEASURE, str(made["root"]), " ".join(_ABSENT))
    measured = [run_child(command) for _ in range(runs)]
    return min(measured, key=lambda figures: figures["tuf.import_ms"])


if __name__ == "__main__":
    print(measure())
