"""Held-out records read back from released archives, by the bundle's digest."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cloud.drift.held_out import HELD_OUT_NAME, HeldOut, encode_held_out
from cloud.registry.bundle import BundleContent, build_bundle
from cloud.registry.held_out_records import HeldOutRecords
from cloud.registry.keys import Keys, init_keys
from cloud.registry.release import Registry, release, release_archive
from contract.manifest import Artefact, OutputKind, RuntimeKind, Thresholds
from tests.fakes.held_out import record_of
from tests.tiny_bundle import LABELS, SPEC, model_bytes, write_bundle

NOW = 1_795_200_000.0
RECORD = record_of(labels=("good", "scratch"))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return init_keys(tmp_path / "keys")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def content(folder: Path, record: bytes, version: str = "1") -> BundleContent:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model_bytes())
    (folder / HELD_OUT_NAME).write_bytes(record)
    return BundleContent(
        name="tiny",
        version=version,
        labels=LABELS,
        preprocess=SPEC,
        artefacts=(Artefact("model.onnx", RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
        thresholds=Thresholds(0.9, 0.9),
        files={"model.onnx": folder / "model.onnx", HELD_OUT_NAME: folder / HELD_OUT_NAME},
    )


def test_a_record_travels_in_the_bundle_to_whichever_cloud_releases_it(
    keys: Keys, registry: Registry, tmp_path: Path
) -> None:
    archive, digest = build_bundle(content(tmp_path / "c", encode_held_out(RECORD)), tmp_path / "b.plb", NOW)
    records = HeldOutRecords(registry)
    assert records.of(digest).why == "its bundle is not released here"
    release_archive(archive, registry, keys, NOW)
    assert records.of(digest).record == RECORD, "what was missing a moment ago is looked for again"
    assert HeldOutRecords(Registry(registry.folder)).of(digest).record == RECORD
    registry.blobs.path(digest).unlink()
    assert records.of(digest).record == RECORD, "an archive never changes, so it is read once"


def test_a_release_without_a_record_says_so(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    released = release_archive(write_bundle(tmp_path / "old.plb"), registry, keys, NOW)
    found = HeldOutRecords(registry).of(released.digest)
    assert found.record is None and "an imported model, or an older release" in found.why


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        encode_held_out(RECORD)[:-40],
        encode_held_out(msgspec.structs.replace(RECORD, held_out_version=9)),
        encode_held_out(record_of(labels=("good", "dent"))),
        b" " * (5 << 20),
    ],
)
def test_a_damaged_record_is_absent_with_a_reason(
    keys: Keys, registry: Registry, tmp_path: Path, record: bytes
) -> None:
    released = release(content(tmp_path / "c", record), registry, keys, NOW)
    found = HeldOutRecords(registry).of(released.digest)
    assert found.record is None and found.why.startswith("its held-out record cannot be read: ")


def test_a_damaged_archive_and_a_folder_in_its_place_are_absent_with_a_reason(
    keys: Keys, registry: Registry, tmp_path: Path
) -> None:
    released = release(content(tmp_path / "c", encode_held_out(RECORD)), registry, keys, NOW)
    blob = registry.blobs.path(released.digest)
    data = blob.read_bytes()
    for torn in (data[:300], data[: len(data) // 2], data.replace(b'"cells"', b'"cellz"')):
        blob.write_bytes(torn)
        assert HeldOutRecords(registry).of(released.digest).why.startswith("its held-out record cannot be read: ")
    for odd in ("", "../../etc/passwd", "0" * 64):
        assert HeldOutRecords(registry).of(odd).record is None


def test_only_so_many_are_remembered(keys: Keys, registry: Registry, tmp_path: Path) -> None:
    records = HeldOutRecords(registry)
    digests = []
    for number in range(34):
        archive, digest = build_bundle(
            content(tmp_path / "c", encode_held_out(RECORD), str(number)), tmp_path / "b.plb", NOW
        )
        registry.blobs.put_file(archive)
        digests.append(digest)
        found: HeldOut | None = records.of(digest).record
        assert found == RECORD
        registry.blobs.path(digest).unlink()
    assert [records.of(each).record is None for each in digests] == [True, True] + [False] * 32
