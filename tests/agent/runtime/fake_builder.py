"""A TensorRT builder that writes files: `fake_builder.py MODE FOLDER [WITNESS]`, run as a real process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

mode, folder = sys.argv[1], Path(sys.argv[2])
if len(sys.argv) > 3:
    with Path(sys.argv[3]).open("a") as witness:
        witness.write(f"{os.getpid()}\n")
if mode == "slow":
    time.sleep(1.0)
if mode == "fail":
    (folder / "half.engine").write_bytes(b"half")
    sys.stderr.write("layer 7: no implementation\nout of memory\n")
    sys.exit(3)
if mode == "crash":
    os.kill(os.getpid(), 11)
if mode == "words":
    sys.stderr.write("x" * 10_000_000)
    sys.exit(1)
if mode != "nothing":
    (folder / "model_sm87.engine").write_bytes(os.urandom(4096))
    (folder / "model.profile").write_bytes(b"profile")
