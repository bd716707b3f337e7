"""A verdict leads back to what decided it, as far as that is known, and no further (P9)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.api.provenance import Manifests, provenance
from contract.manifest import Artefact, FileEntry, Lineage, Manifest, OutputKind, RuntimeKind
from tests.fakes.agent_clock import HandClock
from tests.tiny_bundle import manifest_of

DIGEST = "ab" * 32


def two_artefacts() -> Manifest:
    manifest = manifest_of(b"model")
    second = Artefact("small.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS)
    return msgspec.structs.replace(
        manifest,
        artefacts=(*manifest.artefacts, second),
        files=(*manifest.files, FileEntry("small.onnx", "cd" * 32, 5)),
        lineage=Lineage("data1", "recipe1", "parent1", "code1", "gate1"),
    )


def row(captured_at: float, bundle: str = DIGEST) -> dict[str, object]:
    return {"id": 1, "part": "p", "captured_at": captured_at, "bundle": bundle}


def test_the_artefact_is_the_one_loaded_last_before_the_frame(tmp_path: Path) -> None:
    clock = HandClock()
    manifests = Manifests(tmp_path / "manifests", clock)
    start = clock.now()
    for artefact in ("model.onnx", "small.onnx"):
        manifests.keep(DIGEST, two_artefacts(), artefact)
        clock.forward(100.0)
    again = Manifests(tmp_path / "manifests", clock)  # after a restart
    first, second, before = (provenance(row(start + s), again)["model"] for s in (50.0, 150.0, -50.0))
    assert (first["artefact"]["file"], second["artefact"]["file"]) == ("model.onnx", "small.onnx")
    assert second["artefact"]["sha256"] == "cd" * 32 and second["artefact"]["precision"] == "int8"
    assert (first["artefact"]["certain"], before["artefact"]["certain"]) == (True, False)
    assert first["lineage"] == {
        "dataset": "data1", "recipe": "recipe1", "parent": "parent1", "code": "code1", "gate": "gate1",
    }  # fmt: skip


def test_what_is_no_longer_known_is_said_and_not_made_up(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path / "manifests", HandClock())
    assert provenance(row(0.0), manifests)["model"] == {"bundle": DIGEST, "known": False}
    assert provenance(row(0.0, ""), manifests)["model"] is None
    assert provenance(row(0.0, "../../etc"), manifests)["model"]["known"] is False


def test_a_torn_file_is_unknown_and_mended_by_the_next_load(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, HandClock())
    manifests.keep(DIGEST, two_artefacts(), "model.onnx")
    path = tmp_path / f"{DIGEST}.json"
    path.write_bytes(path.read_bytes()[:50])
    assert manifests.find(DIGEST) is None
    manifests.keep(DIGEST, two_artefacts(), "model.onnx")
    assert manifests.find(DIGEST) is not None


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    manifests = Manifests(tmp_path, HandClock())
    for n in range(270):
        manifests.keep(f"{n:064x}", manifest_of(b"m"), "model.onnx")
    assert len(list(tmp_path.iterdir())) == 256
    assert manifests.find(f"{269:064x}") is not None
