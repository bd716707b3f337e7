"""An artefact with thresholds of its own is judged by them, and what it passes stands."""

from __future__ import annotations

import msgspec
import pytest

from contract.manifest import Thresholds
from tests.agent.test_frame_loop import PASS, Bench, bright, review
from tests.fakes.agent_line import bundle
from tests.tiny_bundle import manifest_of


@pytest.mark.parametrize(
    ("own", "verdicts"),
    [
        (None, {review("degraded")}),  # nobody showed what the first one's thresholds mean for it
        (Thresholds(0.9, 0.9), {PASS}),
        (Thresholds(1.0, 1.0), {review("unsure")}),
    ],
)
def test_a_further_artefact_passes_by_its_own_thresholds_alone(
    own: Thresholds | None, verdicts: set[tuple[str, str]]
) -> None:
    manifest = manifest_of(b"model", version="two")
    first = msgspec.structs.replace(manifest.artefacts[0], file="first.onnx")
    behind = msgspec.structs.replace(manifest.artefacts[0], scheme="s8s8", thresholds=own)
    manifest = msgspec.structs.replace(manifest, artefacts=(first, behind))
    bench = Bench(installed=bundle("two", manifest), unloadable=("first.onnx",))
    assert set(bench.feed(*bright(4))) == verdicts
