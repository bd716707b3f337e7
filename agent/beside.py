"""Models that look at a camera's frames beside the one in charge: a detector of foreign parts beside a classifier.

They are named in agent.toml, not rolled out, and may be loaded and unloaded while the line runs. One that is wanted and not
there yet, or does not load, says "I have not looked": then nothing passes, for a part that nobody looked at is not good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.loading import Model
from agent.ports.log import Log
from contract.errors import PlumblineError

EVERY_CAMERA = "*"
_GIVEN_UP = "given up while the station is short of memory"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to run: `bundle` is the path of a .plb, `camera` the camera it looks through, or EVERY_CAMERA.

    `stamp` tells apart two files that were one after the other at that path.
    """

    name: str
    bundle: str
    camera: str = EVERY_CAMERA
    stamp: str = ""


class BesideModels:
    """`want` is any thread's; `of` and `at_frame_boundary` are the frame loop's. Loading has a thread of its own."""

    def __init__(self, load: Callable[[Wanted], Model], log: Log) -> None:
        """`load` returns the model; it is called on the loading thread and takes its time."""
        self._load = load
        self._log = log
        self._lock = threading.Lock()
        self._wanted: tuple[Wanted, ...] = ()
        self._loaded: dict[Wanted, Model] = {}
        self._errors: dict[Wanted, str] = {}
        # What the frame loop sees; replaced as a whole, so that it needs no lock.
        self._serving: dict[Wanted, Model | None] = {}
        self._retired: list[Model] = []
        self._worker: threading.Thread | None = None
        self._given_up = False

    @property
    def any_wanted(self) -> bool:
        """Whether there are any to run."""
        return bool(self._wanted)

    def give_up(self, given_up: bool) -> None:
        """Unload every model and load none, for the memory they take, until this says otherwise: nothing passes meanwhile."""
        # Asked every few milliseconds, and nearly always for what is so already.
        if given_up is self._given_up:
            return
        with self._lock:
            self._given_up = given_up
            if given_up:
                self._retired += self._loaded.values()
                self._loaded = {}
            self._publish()
            self._load_missing()

    def want(self, wanted: Sequence[Wanted]) -> None:
        """Run exactly these from now on: unload what is not among them, load what is new, and try again what did not load."""
        with self._lock:
            self._wanted = tuple(wanted)
            self._errors = {}
            for gone in self._loaded.keys() - set(self._wanted):
                self._retired.append(self._loaded.pop(gone))
                self._log.say(f"model '{gone.name}' is unloaded")
            self._publish()
            self._load_missing()

    def hung(self, model: Model) -> None:
        """Give up a model that hangs in native code, and load it anew. It is not freed: a thread is still inside it."""
        with self._lock:
            self._retired = [each for each in self._retired if each is not model]
            for wanted in [wanted for wanted, each in self._loaded.items() if each is model]:
                del self._loaded[wanted]
                self._log.say(f"model '{wanted.name}' hangs: it is given up and loaded anew")
            self._publish()
            self._load_missing()

    def of(self, camera: str) -> tuple[Model | None, ...]:
        """Return the models that look at `camera`'s frames; None stands for one that is wanted and not there."""
        serving = self._serving
        if not serving:
            return ()
        return tuple(model for wanted, model in serving.items() if wanted.camera in (EVERY_CAMERA, camera))

    def at_frame_boundary(self) -> None:
        """Free what was unloaded: no frame is in it now."""
        if not self._retired:
            return
        with self._lock:
            retired, self._retired = self._retired, []
        for model in retired:
            model.close()

    def states(self) -> dict[str, str]:
        """Return how each wanted model stands, by name: "loaded", "loading", or why it does not load."""
        with self._lock:
            absent = _GIVEN_UP if self._given_up else "loading"
            return {
                wanted.name: "loaded" if wanted in self._loaded else self._errors.get(wanted, absent)
                for wanted in self._wanted
            }

    def settle(self, within_s: float) -> bool:
        """Wait until nothing is being loaded; return whether that was within `within_s`."""
        worker = self._worker
        if worker is not None:
            worker.join(within_s)
        return self._worker is None

    def close(self) -> None:
        """Free every model. The line has ended."""
        self.want(())
        self.at_frame_boundary()

    def _work(self) -> None:
        while True:
            with self._lock:
                missing = self._missing()
                if not missing:
                    self._worker = None
                    return
            self._load_one(missing[0])

    def _load_one(self, wanted: Wanted) -> None:
        model, error = None, ""
        try:
            model = self._load(wanted)
        except PlumblineError as refused:
            error = refused.one_line()
        except Exception as broken:  # noqa: BLE001 - whatever a loader throws: the model is not there, and that is said
            error = f"{type(broken).__name__}: {broken}"
        with self._lock:
            if model is None:
                self._errors[wanted] = error
                self._log.say(f"model '{wanted.name}' does not load, nothing passes until it does: {error}")
            elif wanted in self._wanted and not self._given_up:
                self._loaded[wanted] = model
                self._log.say(f"model '{wanted.name}' looks on: {model.bundle.digest[:12]}")
            else:
                self._retired.append(model)
            self._publish()

    def _load_missing(self) -> None:
        if self._worker is None and self._missing():
            self._worker = threading.Thread(target=self._work, name="models", daemon=True)
            self._worker.start()

    def _missing(self) -> list[Wanted]:
        if self._given_up:
            return []
        return [wanted for wanted in self._wanted if wanted not in self._loaded and wanted not in self._errors]

    def _publish(self) -> None:
        self._serving = {wanted: self._loaded.get(wanted) for wanted in self._wanted}
