"""What the agent is measured against: read, decode, preprocess, run, and nothing else, in a process of its own.

`python -m scripts.benches.bare_loop MODEL IMAGES SECONDS` prints its figures as JSON; with SECONDS 0 it only loads the model,
runs it once and says how much memory that takes. It decodes with Pillow and prepares with `contract.preprocess`, as the agent
does, and sets ONNX Runtime up likewise: one thread, no spinning.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benches.process_meter import rss_mb


def session_of(model: Path) -> Any:
    """Return `model` in an ONNX Runtime session with the agent's settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def session_alone(model: Path) -> dict[str, float]:
    """Return the memory of a process that has done nothing but load `model` and run it once."""
    session = session_of(model)
    given = session.get_inputs()[0]
    session.run(None, {given.name: np.zeros(given.shape, np.float32)})
    return {"rss_mb": rss_mb("self")}


def loop(model: Path, folder: Path, seconds: float, warm: int) -> dict[str, float]:
    """Return the figures of the bare loop over the images in `folder`, after `warm` frames."""
    from PIL import Image

    from contract.preprocess import preprocess
    from scripts.benches.line_spec import SPEC

    session = session_of(model)
    name = session.get_inputs()[0].name
    paths = sorted(folder.iterdir())
    latencies: list[float] = []
    frame = 0
    begun_s, begun_cpu_s, first_s = 0.0, 0.0, 0.0
    while True:
        if frame == warm:
            begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        with Image.open(paths[frame % len(paths)]) as image:
            pixels = np.asarray(image)
        captured_s = time.perf_counter()
        session.run(None, {name: preprocess(pixels, SPEC)})
        now_s = time.perf_counter()
        frame += 1
        if frame == 1:
            first_s = time.time()
        if frame > warm:
            latencies.append(now_s - captured_s)
            if now_s - begun_s >= seconds:
                break
    measured = len(latencies)
    return {
        "fps": measured / (now_s - begun_s),
        "p50_ms": float(np.percentile(latencies, 50)) * 1e3,
        "p99_ms": float(np.percentile(latencies, 99)) * 1e3,
        "cpu_us": (time.process_time() - begun_cpu_s) / measured * 1e6,
        "rss_mb": rss_mb("self"),
        "first_at": first_s,
    }


def main(arguments: list[str]) -> int:
    """Measure as the arguments say."""
    model, folder, seconds = Path(arguments[0]), Path(arguments[1]), float(arguments[2])
    print(json.dumps(loop(model, folder, seconds, int(arguments[3])) if seconds else session_alone(model)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
