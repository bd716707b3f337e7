"""The peer's loop, run by the Python of `.venv-peers`: cv2.imread and `inference_models.AutoModel`, one frame after another.

`python peer_loop.py PACKAGE IMAGES SECONDS WARM` prints the figures of bare_loop.py as JSON. It imports nothing of ours.
Their loader has no setting for ONNX Runtime's threads, so the session's options are put in from outside: one thread, no
spinning, as for every contender; torch and OpenCV get one thread too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def _one_thread_each() -> None:
    import cv2  # type: ignore[import-not-found]
    import onnxruntime
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    made = onnxruntime.InferenceSession

    def make(*args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("sess_options") or onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return made(*args, **{**kwargs, "sess_options": options})

    onnxruntime.InferenceSession = make


def main(arguments: list[str]) -> int:
    """Measure as the arguments say."""
    package, folder, seconds, warm = arguments[0], Path(arguments[1]), float(arguments[2]), int(arguments[3])
    _one_thread_each()
    import cv2
    from inference_models import AutoModel  # type: ignore[import-not-found]

    model = AutoModel.from_pretrained(package)
    paths = [str(path) for path in sorted(folder.iterdir())]
    latencies: list[float] = []
    frame, first_at, begun_s, begun_cpu_s = 0, 0.0, 0.0, 0.0
    while True:
        if frame == warm:
            begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        pixels = cv2.imread(paths[frame % len(paths)])
        captured_s = time.perf_counter()
        answer = model(pixels)
        now_s = time.perf_counter()
        frame += 1
        first_at = first_at or time.time()
        if frame > warm:
            latencies.append(now_s - captured_s)
            if now_s - begun_s >= seconds:
                break
    measured = len(latencies)
    latencies.sort()
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    figures = {
        "fps": measured / (now_s - begun_s),
        "p50_ms": latencies[measured // 2] * 1e3,
        "p99_ms": latencies[min(measured * 99 // 100, measured - 1)] * 1e3,
        "cpu_us": (time.process_time() - begun_cpu_s) / measured * 1e6,
        "rss_mb": int(resident.split()[1]) * 1024 / 1e6,
        "first_at": first_at,
        "classes": float(answer.confidence.shape[-1]),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
