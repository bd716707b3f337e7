"""Real ONNX models that go wrong, each in its way, on trial beside a real incumbent: each is turned down, in words."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.clock import SystemClock
from agent.health.process_memory import process_memory_mib
from agent.mailboxes import Switch
from agent.ports.runtime import Runtime
from agent.ports.slots import InstalledBundle, Trial, TrialOutcome
from agent.ports.source import Frame
from agent.runtime.load import load_runtime
from agent.serving import Serving
from contract.manifest import Artefact, Manifest
from contract.messages import Probation, Verdict
from tests.agent import odd_models
from tests.fakes.agent_line import ListLog, image
from tests.tiny_bundle import manifest_of, model_bytes


def installed(folder: Path, model: bytes) -> InstalledBundle:
    folder.mkdir()
    manifest = manifest_of(model)
    (folder / manifest.artefacts[0].file).write_bytes(model)
    return InstalledBundle(hashlib.sha256(model).hexdigest(), folder, manifest)


def load(folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
    return load_runtime(folder, manifest, manifest.artefacts[0]), manifest.artefacts[0]


class Station:
    """A tiny incumbent that decides, and whatever is on trial beside it. A quarter of the parts are dark."""

    def __init__(self, tmp_path: Path, *, deadline_ms: float = 1e5) -> None:
        self.clock, self.switch, self.log = SystemClock(), Switch(), ListLog()
        self.serving = Serving(
            load,
            self.switch,
            self.clock,
            self.log,
            deadline_ms=deadline_ms,
            previous=None,
            memory_mib=process_memory_mib,
        )
        self.incumbent = installed(tmp_path / "incumbent", model_bytes())
        self.serving.begin(self.incumbent)
        self.frames = 0

    def look(self) -> None:
        self.serving.at_frame_boundary()
        model = self.serving.in_charge
        assert model is not None
        now_s = self.clock.monotonic()
        frame = Frame(image(20 if self.frames % 4 == 0 else 230, self.frames), self.clock.now(), now_s)
        self.frames += 1
        prediction = model.predict(frame)
        shadow = self.serving.shadow(frame)
        self.serving.decided(prediction, (self.clock.monotonic() - now_s) * 1e3, shadow)

    def outcome_of(self, candidate: InstalledBundle, probation: Probation) -> TrialOutcome:
        self.switch.offer(Trial(candidate, "d1", probation))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            self.look()
            outcome = self.switch.next_outcome(0.001)
            if outcome is not None:
                return outcome
        raise AssertionError("the trial came to no end")


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        (odd_models.all_pass(), Probation(40, 0.0, max_mix_shift=0.1), " of 40 frames than the incumbent"),
        (odd_models.all_pass(), Probation(40, 0.9), "30 of 40 frames as the bundle in charge does"),
        (odd_models.swapped(), Probation(40, 0.9), "0 of 40 frames as the bundle in charge does"),
        (odd_models.not_a_number(), Probation(40, 0.0), "NaN"),
        (odd_models.grows(), Probation(40, 0.0), "does not load"),
        (odd_models.grows(40_000_000), Probation(40, 0.0, max_memory_mib=100.0), "grew by"),
        (odd_models.slow(20_000), Probation(40, 0.0), "95 % of its frames took"),
        (b"no model", Probation(40, 0.0), "does not load"),
    ],
    ids=["all pass, mix", "all pass", "swapped", "not a number", "too big", "grows", "slow", "no model"],
)
def test_it_is_turned_down_and_the_incumbent_goes_on(
    tmp_path: Path, model: bytes, asked: Probation, words: str
) -> None:
    station = Station(tmp_path, deadline_ms=5.0 if words.startswith("95") else 1e5)
    outcome = station.outcome_of(installed(tmp_path / "candidate", model), asked)
    assert not outcome.kept and words in outcome.reason
    assert station.serving.in_charge is not None
    assert station.serving.in_charge.bundle is station.incumbent
    station.look()
    station.serving.close()


def test_a_sound_one_is_kept_under_every_limit(tmp_path: Path) -> None:
    station = Station(tmp_path, deadline_ms=2e3)
    sound = installed(tmp_path / "candidate", model_bytes(gain=19.0))
    asked = Probation(40, 0.9, max_mix_shift=0.1, max_memory_mib=100.0, serve_s=0.2)
    outcome = station.outcome_of(sound, asked)
    assert outcome.kept, outcome.reason
    assert outcome.frames >= 40 and station.serving.in_charge is not None
    note = station.serving.take_shadow()
    assert note is not None and note.failed == 0 and note.mean_ms > 0
    assert note.verdicts == note.incumbent and set(note.verdicts) == {Verdict.PASS.value, Verdict.REJECT.value}
    assert msgspec.json.decode(msgspec.json.encode(note), type=type(note)) == note
    assert np.isfinite(note.memory_mib)
    station.serving.close()
