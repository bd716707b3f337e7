"""Real summaries of about 11 KB, cheap enough for 10,000 stations: the window is encoded once, the header for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from contract.codec import encode_summary
from contract.messages import Accounting, Header, Summary
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import frame_stats
from contract.sketches.rolling import RollingSketch
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, Window, merge
from contract.sketches.wire import to_wire

FRAMES = 230_400
"""Frames of one summary, as of an hour at 64 a second: its counts need their full width."""

# A thousand labels make it 11 KB, as in the budget; sixteen make 9, and a minute's frames 6.
_LABELS, _ENROLLED, _DOUBLINGS = 1_000, 64, 8
_pack = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Template:
    """A summary as bytes, but for its header."""

    before: bytes
    after: bytes

    def payload(self, header: Header) -> bytes:
        """Return the whole summary of `header`, as `encode_summary` would give it."""
        return b"".join((self.before, _pack.encode(header), self.after))


def make_templates(count: int, seed: int) -> tuple[Template, ...]:
    """Return `count` templates, each with the window of other frames."""
    rng = np.random.default_rng(seed)
    return tuple(_template(window) for window in _windows(count, rng))


def _windows(count: int, rng: np.random.Generator) -> Iterator[Window]:
    levels, noise = rng.integers(60, 200, _ENROLLED), rng.integers(10, 60, _ENROLLED)
    frames = [
        np.clip(rng.normal(level, spread, (224, 224)), 0, 255).astype(np.uint8)
        for level, spread in zip(levels, noise, strict=True)
    ]
    stats = [frame_stats(frame) for frame in frames]
    enrolment = Enrolment(_ENROLLED)
    for each in stats:
        enrolment.add(each)
    reference = enrolment.reference()
    identity = SketchIdentity(FEATURES_VERSION, reference.seed, reference.digest(), "5" * 64, _LABELS)
    for _ in range(count):
        rolling = RollingSketch(identity, reference)
        for _ in range(FRAMES >> _DOUBLINGS):
            label, confidence = int(rng.integers(_LABELS)), float(rng.beta(8, 2))
            rolling.observe(stats[int(rng.integers(_ENROLLED))], label, confidence, float(rng.gamma(4, 500)))
        window = rolling.close()
        for _ in range(_DOUBLINGS):
            window = merge(window, window)
        yield window


def _template(window: Window) -> Template:
    header = Header("x", "x", 1, 0.0, 60.0, 60.0, True, "x")
    accounting = Accounting(
        captured=FRAMES, passed=FRAMES - 90, rejected=60, review={"unsure": 30}, asked_cloud=0, cloud_answers=0
    )
    whole = encode_summary(Summary(header, accounting, to_wire(window), simulated=True))
    # The header is the first field, so its bytes are found before any section could hold the same by chance.
    before, _, after = whole.partition(_pack.encode(header))
    return Template(before, after)
