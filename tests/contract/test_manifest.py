from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contract.errors import BadBundle
from contract.manifest import (
    MAX_INPUT_PX,
    PIECE_BYTES,
    Compatibility,
    FileEntry,
    Label,
    LabelKind,
    Manifest,
    Resources,
    Tensor,
    Thresholds,
    decode_manifest,
    encode_manifest,
)
from contract.preprocess import PreprocessSpec
from tests.golden.any_message import any_of
from tests.golden.examples import manifest

GOOD = manifest()
PLAIN = encode_manifest(GOOD)

HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../escape",
    "a/b",
    "a/../../b",
    "a\\b",
    "..\\escape",
    "C:\\windows",
    "model\0.onnx",
    "model\n.onnx",
    "model\x1b[2J",
    "model\u202exnno",
    "manifest.json",
]


def refused(changed: Manifest, why: str) -> None:
    with pytest.raises(BadBundle, match=why) as caught:
        decode_manifest(encode_manifest(changed))
    assert len(caught.value.one_line()) < 300


def with_spec(**changes: Any) -> Manifest:
    spec = PreprocessSpec(8, 8, 3, (0.5,) * 3, (0.25,) * 3)
    return replace(GOOD, preprocess=replace(spec, **changes))


def test_a_decoded_manifest_is_the_one_encoded() -> None:
    assert decode_manifest(PLAIN) == GOOD


@pytest.mark.slow
@given(any_of(Manifest))
def test_any_manifest_is_read_back_or_refused(drawn: Manifest) -> None:
    try:
        decoded = decode_manifest(encode_manifest(drawn))
    except BadBundle as error:
        assert error.one_line()
        return
    assert decoded == drawn


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_bad_bundle(payload: bytes) -> None:
    with pytest.raises(BadBundle):
        decode_manifest(payload)


@given(st.data())
def test_a_damaged_manifest_is_a_bad_bundle_at_worst(data: st.DataObject) -> None:
    payload = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(payload)))
        payload[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    try:
        decode_manifest(bytes(payload))
    except BadBundle as error:
        assert error.one_line()


def test_nesting_without_end_is_a_bad_bundle() -> None:
    with pytest.raises(BadBundle):
        decode_manifest(b'{"later":' + b"[" * 100_000)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_file_name_that_is_more_than_a_name_is_refused(name: str) -> None:
    refused(replace(GOOD, files=(*GOOD.files, FileEntry(name, "0" * 64, 1))), "no plain file name")


@given(st.text(max_size=30))
def test_an_accepted_file_name_stays_in_its_folder(name: str) -> None:
    changed = replace(GOOD, files=(*GOOD.files, FileEntry(name, "0" * 64, 1)))
    try:
        decode_manifest(encode_manifest(changed))
    except BadBundle:
        return
    assert name not in ("", ".", "..", "manifest.json")
    assert not set(name) & set("/\\\0\r\n")


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_file_without_a_hash_is_refused(digest: str) -> None:
    refused(replace(GOOD, files=(replace(GOOD.files[0], sha256=digest), *GOOD.files[1:])), "SHA-256")


@pytest.mark.parametrize("size", [-1, 1 << 63, 1 << 80])
def test_a_file_of_impossible_size_is_refused(size: int) -> None:
    payload = msgspec.json.decode(PLAIN)
    payload["files"][0]["size_bytes"] = "SIZE"
    with pytest.raises(BadBundle, match="size_bytes"):
        decode_manifest(msgspec.json.encode(payload).replace(b'"SIZE"', str(size).encode()))


def test_a_file_listed_twice_is_refused() -> None:
    refused(replace(GOOD, files=(*GOOD.files, GOOD.files[0])), "listed twice")


def test_an_artefact_that_is_not_listed_is_refused() -> None:
    refused(replace(GOOD, files=GOOD.files[1:]), "model.int8.onnx")


def test_golden_vectors_that_are_not_listed_are_refused() -> None:
    refused(replace(GOOD, files=GOOD.files[:2]), "golden.npz")


def test_a_manifest_without_artefacts_is_refused() -> None:
    refused(replace(GOOD, artefacts=()), "artefacts")


def test_a_manifest_without_labels_is_refused() -> None:
    refused(replace(GOOD, labels=()), "no labels")


def test_more_labels_than_a_window_can_count_are_refused() -> None:
    refused(replace(GOOD, labels=tuple(Label(f"l{n}", LabelKind.GOOD) for n in range(4097))), "4097 labels")


def test_a_label_listed_twice_is_refused() -> None:
    twin = Label("good", LabelKind.DEFECT)
    refused(replace(GOOD, labels=(*GOOD.labels, twin)), "label is listed twice")


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31mred", "a\0", "a\u2028b"])
def test_a_label_that_breaks_a_line_is_refused(name: str) -> None:
    refused(replace(GOOD, labels=(*GOOD.labels, Label(name, LabelKind.DEFECT))), "label")


@pytest.mark.parametrize("name", ["tabby, tabby cat", "Kratzer (tief)", "傷\u3000深い", "no\xa0break"])
def test_labels_are_in_peoples_own_words(name: str) -> None:
    changed = replace(GOOD, labels=(*GOOD.labels, Label(name, LabelKind.DEFECT)))
    assert decode_manifest(encode_manifest(changed)) == changed


@pytest.mark.parametrize(("pass_at", "reject_at"), [(-0.1, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 2.0), (1e300, 0.5)])
def test_a_threshold_that_is_no_probability_is_refused(pass_at: float, reject_at: float) -> None:
    refused(replace(GOOD, thresholds=Thresholds(pass_at, reject_at)), "outside 0..1")


@pytest.mark.parametrize("pass_at", [0.0, 1.0, 1.0 + 1e-9])
def test_thresholds_of_always_and_never_are_accepted(pass_at: float) -> None:
    changed = replace(GOOD, thresholds=Thresholds(pass_at, 0.5))
    assert decode_manifest(encode_manifest(changed)) == changed


@pytest.mark.parametrize(
    "spec",
    [
        {"height": 0},
        {"width": -1},
        {"height": MAX_INPUT_PX + 1},
        {"width": 1 << 40},
        {"channels": 0},
        {"channels": 2},
        {"channels": 4},
        {"channels": 1},  # with three means
        {"layout": "nchw"},
        {"layout": ""},
        {"dtype": "float16"},
        {"mean": ()},
        {"mean": (0.5,)},
        {"std": (0.25, 0.25)},
        {"std": (0.0, 1.0, 1.0)},
        {"std": (-1.0, 1.0, 1.0)},
        {"std": (1e-300, 1.0, 1.0)},
        {"mean": (1e300, 0.0, 0.0)},
    ],
    ids=str,
)
def test_a_preprocessing_that_would_be_guessed_at_is_refused(spec: dict[str, Any]) -> None:
    assert decode_manifest(encode_manifest(with_spec())) == with_spec()
    refused(with_spec(**spec), "input|means|mean or std")


def test_raw_bytes_need_no_mean_and_std() -> None:
    raw = with_spec(dtype="uint8", mean=(), std=())
    assert decode_manifest(encode_manifest(raw)) == raw


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(BadBundle, match="runtime"):
        decode_manifest(PLAIN.replace(b'"onnx"', b'"abacus"'))


def test_a_manifest_is_indented_for_people() -> None:
    assert PLAIN.startswith(b'{\n  "name": "steel",\n')


@given(st.integers(0, 3 * PIECE_BYTES + 1), st.integers(0, 5))
def test_piece_hashes_cover_their_file_or_are_refused(size: int, pieces: int) -> None:
    entry = replace(GOOD.files[0], size_bytes=size, pieces=("ab" * 32,) * pieces)
    changed = replace(GOOD, files=(entry, *GOOD.files[1:]), tensors=())
    if pieces in (0, -(-size // PIECE_BYTES)):
        assert decode_manifest(encode_manifest(changed)) == changed
    else:
        refused(changed, "piece hashes that do not cover it")


@pytest.mark.parametrize("piece", ["", "AB" * 32, "ab" * 31, "zz" * 32])
def test_a_piece_without_a_hash_is_refused(piece: str) -> None:
    entry = replace(GOOD.files[0], size_bytes=10, pieces=(piece,))
    refused(replace(GOOD, files=(entry, *GOOD.files[1:]), tensors=()), "piece hashes")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4))
def test_an_accepted_tensor_table_stays_in_its_file_and_names_no_byte_twice(places: list[tuple[int, int]]) -> None:
    entry = replace(GOOD.files[0], size_bytes=40, pieces=())
    tensors = tuple(Tensor(entry.name, f"t{n}", "int8", (size,), at, size) for n, (at, size) in enumerate(places))
    changed = replace(GOOD, files=(entry, *GOOD.files[1:]), tensors=tensors)
    try:
        accepted = decode_manifest(encode_manifest(changed)).tensors
    except BadBundle:
        taken = [byte for at, size in places for byte in range(at, at + size)]
        in_order = all(first[0] + first[1] <= second[0] for first, second in pairwise(places))
        assert (
            len(set(taken)) < len(taken)
            or max(taken, default=0) >= 40
            or not in_order
            or max(p[0] for p in places) > 40
        )
        return
    taken = [byte for each in accepted for byte in range(each.offset, each.offset + each.size_bytes)]
    assert len(set(taken)) == len(taken) and max(taken, default=0) < 40


def test_a_tensor_of_a_file_that_is_not_there_is_refused() -> None:
    refused(replace(GOOD, tensors=(Tensor("other.onnx", "w", "int8", (1,), 0, 1),)), "lies outside")


@pytest.mark.parametrize("field", ["gate_report", "model_card"])
def test_a_report_or_card_that_is_not_listed_is_refused(field: str) -> None:
    refused(replace(GOOD, **{field: "absent"}), "needs 'absent' but does not list it")


def test_a_manifest_from_before_pieces_tensors_and_needs_is_read() -> None:
    old = msgspec.json.decode(PLAIN)
    for name in ("tensors", "compatibility", "resources", "gate_report", "model_card"):
        old.pop(name, None)
    for entry in old["files"]:
        entry.pop("pieces", None)
    read = decode_manifest(msgspec.json.encode(old))
    assert (read.tensors, read.compatibility, read.resources) == ((), Compatibility(), Resources())
    assert all(entry.pieces == () for entry in read.files)
