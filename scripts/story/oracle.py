"""The oracle: what a model could reach had somebody labelled every training image as the defocused lens sees it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from contract.errors import PlumblineError
from scripts.story.exam import defocused_copy
from scripts.story.images import Pictures
from scripts.story.processes import Process, StepFailed, tool


class Oracle:
    """Trains in the background, at low priority and on one thread, while the story goes on."""

    def __init__(self, pictures: Pictures, base_run: Path, work: Path) -> None:
        self._pictures, self._base_run, self._work = pictures, base_run, work
        self._trouble = ""
        self._process: Process | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work_through, name="oracle", daemon=True)
        self._thread.start()

    def run(self, within_s: float) -> Path:
        """Return its run folder, trained and quantized.

        Raises:
            StepFailed: it failed, or is not done in time.
        """
        self._thread.join(within_s)
        if self._thread.is_alive():
            raise StepFailed(f"the oracle is not trained within {within_s:.0f} s")
        if self._trouble:
            raise StepFailed(f"the oracle: {self._trouble}")
        return self._work / "oracle"

    def close(self) -> None:
        """Leave no process behind."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        self._thread.join(30.0)

    def _work_through(self) -> None:
        try:
            reviewed, run = self._label_everything(), str(self._work / "oracle")
            start = ["--parent", str(self._base_run), "--reviewed", str(reviewed), "--out", run]
            self._carry_out("train", *start, "--drift-share", "0", "--threads", "1")
            self._carry_out("quantize", run)
        except PlumblineError as error:
            self._trouble = error.one_line()

    def _carry_out(self, step: str, *arguments: str) -> None:
        if self._closed:
            return
        command = ["nice", "-n", "10", tool("plumbline-cloud"), step, *arguments]
        process = self._process = Process(f"oracle's {step}", command, self._work / f"oracle-{step}.log")
        process.start()
        if (code := process.wait()) != 0 and not self._closed:
            raise StepFailed(f"{process.name} ended with code {code}: {process.tail()}")

    def _label_everything(self) -> Path:
        folder, names = self._work / "oracle-labels", list(self._pictures.train)
        defocused_copy(self._pictures.data, names, folder)
        rows = [
            {
                "file": f"{name}.png",
                "label": self._pictures.truth[name],
                "part": name,
                "labeller": "oracle",
                "source": "oracle",
            }
            for name in names
        ]
        (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder
