"""One camera's windows: the open one, and those that end as soon as every frame of theirs has its verdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agent.camera_line import CameraLine
from agent.decide.unfamiliar import RefusedOfLate, flood_note
from agent.loading import Model
from agent.open_window import OpenWindow
from agent.ports.clock import Clock
from agent.ports.recorder import Recorder
from contract.messages import HealthNote, ShadowNote, Summary

# Ended windows wait for frames that the cloud was asked about, at most one deadline; more than this many wait for the disk.
_MOST_ENDING = 4

LEAST_OF_NO_ONE = 16
"""Sketches of so many frames or more say what they look like together, and hardly what one of them did (P8).

The 64 projections of one frame's thumbnail give a picture of about 8 x 8 places back: its correlation with the thumbnail is .79 to
.87 on tiles, steel and a photo for who knows the seed, which is in the code, and that pictures are smooth. Of 16 frames they give
the mean of 16. What all frames have in common stays in it: who must not let even that leave sets windows.sketch = false.
"""


@dataclass(frozen=True, slots=True)
class WindowRules:
    """When a window ends, and what its summary says of the station. `notes` are asked as it ends. `sketch`: frames are sketched.

    `least_sketched`: sketches of fewer frames than this do not leave (`LEAST_OF_NO_ONE`); such a window waits for more, a while.
    `refused` is told of every window, of any camera.
    """

    station: str
    frames: int
    seconds: float
    clock_synced: Callable[[], bool]
    shadow: Callable[[], ShadowNote | None]
    notes: Callable[[], str]
    sketch: bool = True
    least_sketched: int = 0
    health: Callable[[], HealthNote | None] = lambda: None
    refused: RefusedOfLate = field(default_factory=RefusedOfLate)


class Windows:
    """The frame loop's thread calls everything."""

    def __init__(
        self, camera: CameraLine, model: Model | None, recorder: Recorder, clock: Clock, rules: WindowRules
    ) -> None:
        self._camera = camera
        self._recorder = recorder
        self._clock = clock
        self._rules = rules
        self._ending: deque[OpenWindow] = deque()
        self.open = self._new(camera.next_window, model)

    def at_frame_boundary(self, model: Model | None) -> None:
        """End what is due. Frames of two models, or of two references, never share a window: their sketches must not merge."""
        if (
            self.open.model is not model
            or self.open.reference is not self._camera.enrolled.reference
            or (self.open.is_due(self._rules.frames, self._rules.seconds) and self._recorder.has_room())
        ):
            self._end(model)
        self._close_ended()

    def close(self, *, patiently: bool) -> None:
        """End the open window and hand on every one; `patiently` waits for the recorder up to 5 s."""
        for _ in range(50 if patiently else 1):
            self._end(self.open.model)
            self._close_ended()
            if not self._ending and not self.open.frames:
                return
            self._clock.sleep(0.1)

    def _end(self, model: Model | None) -> None:
        window = self.open
        if window.frames or window.parked:
            if len(self._ending) >= _MOST_ENDING:
                # The recorder has no room: the window stays open, for a model that may be closed by now must judge no more.
                if window.model is not model:
                    window.hand_over(model)
                return
            window.end()
            self._ending.append(window)
        number = window.number + 1 if window.frames or window.parked else window.number
        self.open = self._new(number, model)
        self._camera.sampler.new_window()

    def _new(self, number: int, model: Model | None) -> OpenWindow:
        camera = self._camera
        return OpenWindow(
            number,
            model,
            camera.enrolled.reference,
            self._clock,
            camera.name,
            sketch=self._rules.sketch,
            least_sketched=self._rules.least_sketched,
        )

    def _close_ended(self) -> None:
        while self._ending and not self._ending[0].parked and self._recorder.has_room():
            window = self._ending[0]
            if not self._recorder.close_window(window.number, self._summary(window)):
                return
            self._ending.popleft()

    def _summary(self, window: OpenWindow) -> Summary:
        if window.told is None:
            window.told = window.summary(
                self._rules.station,
                clock_synced=self._rules.clock_synced(),
                shadow=self._rules.shadow(),
                simulated=self._camera.simulated,
            )
            strange = flood_note(window.told.accounting)
            self._rules.refused.count(self._camera.name, window.told.accounting, self._clock.monotonic())
            note = "; ".join(
                filter(None, (window.told.note, self._camera.guarantee.note, strange, self._rules.notes()))
            )
            window.told = msgspec.structs.replace(window.told, note=note, health=self._rules.health())
        return window.told
