"""Build one model's TensorRT engines: a process of its own, for it takes minutes, gigabytes, and sometimes the process with it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np

from agent.runtime.providers import Provider, available_providers, brief, open_session, session_faults
from contract.errors import PlumblineError


def main(arguments: list[str]) -> int:
    """Build MODEL at PRECISION into FOLDER; 0 when engines lie there."""
    model, precision, folder = Path(arguments[0]), arguments[1], Path(arguments[2])
    end_with_parent()
    os.nice(10)
    if Provider.TENSORRT.value not in available_providers():
        sys.stderr.write("this ONNX Runtime has no TensorRT\n")
        return 1
    try:
        opened = open_session(model, Provider.TENSORRT, threads=1, precision=precision, engines=folder)
        if not opened.why:
            # Engines of a fixed shape are built as the session opens, those of an open batch axis by the first run.
            given = opened.session.get_inputs()[0]
            shape = [side if isinstance(side, int) else 1 for side in given.shape]
            dtype = np.uint8 if given.type == "tensor(uint8)" else np.float32
            opened.session.run(None, {given.name: np.zeros(shape, dtype)})
    except PlumblineError as error:
        sys.stderr.write(f"{error.one_line()}\n")
        return 1
    except session_faults(model.name) as error:
        sys.stderr.write(f"{brief(error)}\n")
        return 1
    if opened.why:
        sys.stderr.write(f"{opened.why}\n")
        return 1
    return 0


def end_with_parent() -> None:
    """Watch stdin, whose other end the station holds: it closes however the station ends, kill -9 included."""
    threading.Thread(target=_watch_stdin, daemon=True).start()


def _watch_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
