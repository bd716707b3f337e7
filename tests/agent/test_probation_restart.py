"""A station that stops while a candidate is in charge on probation starts with the incumbent, and begins the trial again."""

from __future__ import annotations

import time
from pathlib import Path

from update_plant import Plant, plant

from agent.clock import SystemClock
from agent.mailboxes import Switch
from agent.ports.runtime import Runtime
from agent.ports.slots import TrialPhase
from agent.ports.source import Frame
from agent.runtime.load import load_runtime
from agent.serving import Serving
from contract.manifest import Artefact, Manifest
from contract.messages import Probation
from tests.fakes.agent_line import ListLog, image


def load(folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
    return load_runtime(folder, manifest, manifest.artefacts[0]), manifest.artefacts[0]


class Process:
    """The update loop and the models of one run of a station's process."""

    def __init__(self, plant: Plant) -> None:
        self.switch, self.clock = Switch(), SystemClock()
        slots = plant.slots()
        self.serving = Serving(load, self.switch, self.clock, ListLog(), deadline_ms=1e5, previous=None)
        boot = slots.boot_bundle()
        assert boot is not None
        self.serving.begin(boot)
        self.loop = plant.loop(switch=self.switch)

    def until_on_probation(self, digest: str) -> None:
        until = time.monotonic() + 60
        frames = 0
        while time.monotonic() < until:
            self.loop.tick(0.0)
            self.serving.at_frame_boundary()
            model = self.serving.in_charge
            assert model is not None
            if model.bundle.digest == digest:
                return
            frame = Frame(image(230, frames), self.clock.now(), self.clock.monotonic())
            self.serving.decided(model.predict(frame), 1.0, self.serving.shadow(frame))
            frames += 1
        raise AssertionError("it was never put in charge")


def test_a_crash_in_charge_boots_the_incumbent_and_the_trial_is_taken_up_from_the_start(tmp_path: Path) -> None:
    with plant(tmp_path) as p:
        old = p.deploy("1", 1)
        new = p.release("2", 2)
        p.send(p.order(new, probation=Probation(5, 0.0, serve_s=3600.0)))
        for tries in (1, 2):
            process = Process(p)
            assert process.serving.in_charge is not None
            assert process.serving.in_charge.bundle.digest == old.digest, "what is on trial never boots"
            process.until_on_probation(new.digest)
            trial = p.slots().trial()
            assert trial is not None and trial.tries == tries
            committed = p.slots().committed()
            assert committed is not None and committed.digest == old.digest
            news = process.switch.news()
            assert news is not None and news.phase is TrialPhase.IN_CHARGE and news.frames == 5
            process.serving.close()  # and the process is gone
