"""Deltas give back the new bundle to the byte, whatever changed between the two, or say that they do not."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.registry.blobs import sha256_of
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.deltas import DeltaFacts, deltas_for, make_delta
from cloud.registry.equal_ranges import EqualRanges
from cloud.registry.keys import init_keys, load_keys
from cloud.registry.release import Registry, publish_pending, release_archive
from cloud.registry.rotation import rotate_roles
from cloud.registry.tuf_files import read_published
from contract.delta import delta_ends
from contract.errors import BadBundle, NotFound
from contract.rebuild import rebuild
from tests.delta_bundles import archive_of, fine_tuned, model_of, weights

_DTYPES = ("int8", "uint8", "int32", "float32", "float16", "int64")
_RNG = np.random.default_rng(3)


class Held:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class Base(Held):
    """A base that nobody reads outside."""

    def read_at(self, offset: int, size: int) -> bytes:
        assert offset >= 0 and offset + size <= self.size
        return super().read_at(offset, size)


def made(folder: Path, old: bytes, new: bytes) -> tuple[DeltaFacts, bytes]:
    (folder / "old.plb").write_bytes(old)
    (folder / "new.plb").write_bytes(new)
    facts = make_delta(folder / "old.plb", folder / "new.plb", folder / "out.pld")
    return facts, facts.file.read_bytes()


def rebuilt(delta: bytes, old: bytes, new: bytes) -> bytes:
    """Return what comes of `delta`, asked for the bundle `new`."""
    origin, goal = (hashlib.sha256(each).hexdigest() for each in (old, new))
    return b"".join(rebuild(Held(delta), Base(old), origin=origin, goal=goal, size=len(new)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two bundles: of the second, tensors are moved, kept, drawn anew, reshaped, renamed, dropped, added; headers shift."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    old: dict[str, np.ndarray] = {}
    new: dict[str, np.ndarray] = {}
    for number in range(draw(st.integers(0, 6))):
        name, dtype = f"t{number}", draw(st.sampled_from(_DTYPES))
        shape = tuple(draw(st.lists(st.integers(0, 30), max_size=3)))
        array = rng.normal(0, 30, shape).astype(dtype)
        change = draw(st.sampled_from(("move", "keep", "anew", "reshape", "rename", "drop", "add", "type")))
        if change != "add":
            old[name] = array
        if change == "move":
            new[name] = (array + rng.integers(-2, 3, shape)).astype(dtype)
        elif change == "anew":
            new[name] = rng.normal(0, 30, shape).astype(dtype)
        elif change == "reshape":
            new[name] = array.reshape(-1)
        elif change == "rename":
            new[f"renamed{number}"] = array
        elif change == "type":
            new[name] = array.astype("float64")
        elif change != "drop":
            new[name] = array
    shared, other = rng.bytes(draw(st.integers(0, 3000))), rng.bytes(draw(st.integers(0, 200)))
    first = {"m.onnx": model_of(old), "golden.npz": shared, "card.md": b"a card\n" * draw(st.integers(0, 50))}
    second = {"m.onnx": model_of(new, note="x" * draw(st.integers(0, 300))), "golden.npz": other + shared}
    if draw(st.booleans()):
        second = {"first.json": b"{}", **second, "card.md": b"another card\n"}
    return archive_of(first), archive_of(second, version="2")


@settings(max_examples=40)
@given(pair=pairs())
def test_every_pair_of_bundles_gives_the_new_one_back(
    pair: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, delta = made(tmp_path_factory.mktemp("d"), *pair)
    assert rebuilt(delta, *pair) == pair[1]


class Example:
    """A delta between two bundles. No dataclass: hypothesis would print every byte."""

    def __init__(self, facts: DeltaFacts, delta: bytes, old: bytes, new: bytes) -> None:
        self.facts, self.delta, self.old, self.new = facts, delta, old, new


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    old = weights(_RNG)
    pair = (
        archive_of({"m.onnx": model_of(old), "golden.npz": _RNG.bytes(5000)}),
        archive_of({"m.onnx": model_of(fine_tuned(_RNG, old)), "golden.npz": _RNG.bytes(5000)}, version="2"),
    )
    return Example(*made(tmp_path_factory.mktemp("d"), *pair), *pair)


@given(data=st.data())
def test_no_flipped_bit_gives_other_bytes(data: st.DataObject, example: Example) -> None:
    delta, old, new = example.delta, example.old, example.new
    damaged = bytearray(delta)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(delta) - 1, data.draw(st.sampled_from((200, 10_000, len(delta)))))))
        damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(BadBundle):
        assert rebuilt(bytes(damaged), old, new) == new


@given(size=st.integers(0, 60_000))
def test_no_part_of_a_delta_is_taken_for_it(size: int, example: Example) -> None:
    delta, old, new = example.delta, example.old, example.new
    with pytest.raises(BadBundle):
        rebuilt(delta[: min(size, len(delta) - 1)], old, new)


def test_small_moves_of_the_weights_make_a_small_delta(example: Example) -> None:
    facts, delta, new = example.facts, example.delta, example.new
    assert (facts.copied, facts.subtracted, facts.taken_new) == (0, 4, 0)
    # 7 equally likely moves are 2.8 bits of 8; the golden file is noise and comes whole.
    assert facts.size_bytes == len(delta) < 0.40 * (len(new) - 5000) + 5000
    assert facts.sha256 == hashlib.sha256(delta).hexdigest() and facts.full_bytes == len(new)


def test_float_tensors_that_moved_little_are_subtracted_by_planes(tmp_path: Path) -> None:
    old = _RNG.normal(0, 1, 20_000).astype(np.float32)
    new = old * (1 + 1e-5 * _RNG.normal(0, 1, old.shape)).astype(np.float32)
    pair = archive_of({"m.onnx": model_of({"w": old})}), archive_of({"m.onnx": model_of({"w": new})})
    facts, delta = made(tmp_path, *pair)
    assert facts.subtracted == 1 and facts.share < 0.4
    assert rebuilt(delta, *pair) == pair[1]


def test_another_base_is_refused(example: Example) -> None:
    delta, old, new = example.delta, example.old, example.new
    with pytest.raises(BadBundle, match="another base"):
        rebuilt(delta, new, new)
    changed = bytearray(old)
    changed[len(old) // 2] ^= 1
    with pytest.raises(BadBundle, match="makes a bundle"):
        # A base that rotted on the disk, under its old name.
        goal = hashlib.sha256(new).hexdigest()
        for _ in rebuild(
            Held(delta), Held(bytes(changed)), origin=hashlib.sha256(old).hexdigest(), goal=goal, size=len(new)
        ):
            pass


def test_what_is_missing_or_no_bundle_is_said(tmp_path: Path) -> None:
    whole = tmp_path / "whole.plb"
    whole.write_bytes(archive_of({"m.onnx": model_of({})}))
    with pytest.raises(NotFound):
        make_delta(tmp_path / "absent.plb", whole, tmp_path / "out.pld")
    (tmp_path / "torn.plb").write_bytes(whole.read_bytes()[:-700])
    with pytest.raises(BadBundle):
        make_delta(tmp_path / "torn.plb", whole, tmp_path / "out.pld")
    assert not (tmp_path / "out.pld").exists()


def test_a_release_gets_deltas_from_the_last_ones_and_from_what_runs_where_they_save_enough(tmp_path: Path) -> None:
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    digests, arrays = [], weights(_RNG)
    for number in range(6):
        # Number 3 is a model of its own, from which nothing can be subtracted.
        arrays = weights(_RNG) if number == 3 else fine_tuned(_RNG, arrays, 2)
        path = tmp_path / f"{number}.plb"
        path.write_bytes(archive_of({"m.onnx": model_of(arrays)}, version=str(number)))
        digests.append(release_archive(path, registry, keys, 1.8e9 + number).digest)
        if number == 2:
            arrays, kept = weights(_RNG), arrays
        if number == 3:
            arrays = kept
    last, running = digests[4:1:-1], (digests[0], digests[4], digests[5], "0" * 64)
    found = deltas_for((*last, *running), digests[5], registry.blobs.path, tmp_path / "deltas")
    # Of the last three (4, 3, 2), 3 saves too little; 0 runs somewhere; what runs and is not here is left out.
    assert [facts.from_digest for facts in found] == [digests[4], digests[2], digests[0]]
    assert all(facts.share <= 0.7 and facts.to_digest == digests[5] for facts in found)
    assert {f"deltas/{path.name}" for path in (tmp_path / "deltas").iterdir()} == {facts.target for facts in found}


def test_release_lists_deltas_to_itself_and_lets_old_ones_go(tmp_path: Path) -> None:
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    digests, arrays = [], weights(_RNG)
    for number in range(7):
        arrays = fine_tuned(_RNG, arrays, 2)
        path = tmp_path / f"{number}.plb"
        path.write_bytes(archive_of({"m.onnx": model_of(arrays)}, version=str(number)))
        running = (digests[0],) if number == 6 else ()
        digests.append(release_archive(path, registry, keys, 1.8e9 + number, running=running).digest)
    listed = read_published(registry.tuf_folder / "metadata").targets.signed.targets
    ends = {end for name in listed if (end := delta_ends(name)) is not None}
    of = {digest: number for number, digest in enumerate(digests)}
    assert {(of[a], of[b]) for a, b in ends if of[b] == 6} == {(5, 6), (4, 6), (3, 6), (0, 6)}
    assert {of[b] for _, b in ends} == {3, 4, 5, 6}, "deltas to the last three releases stay, older ones go"
    assert len(registry.tuf(keys).digests()) == 7, "bundles never go"
    for name, info in listed.items():
        assert sha256_of(registry.tuf_folder / "targets" / name) == info.hashes["sha256"]
    on_disk = {f"deltas/{path.name}" for path in (registry.tuf_folder / "targets" / "deltas").iterdir()}
    assert on_disk == {name for name in listed if delta_ends(name)}, "what is listed no more is deleted"


def test_deltas_that_wait_for_signatures_stay_and_what_a_kill_left_goes_after_the_next_publication(
    tmp_path: Path,
) -> None:
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    folder, arrays = registry.tuf_folder / "targets" / "deltas", weights(_RNG)

    def released(number: int) -> ReleasedVersion:
        nonlocal arrays
        arrays = fine_tuned(_RNG, arrays, 2)
        path = tmp_path / f"{number}.plb"
        path.write_bytes(archive_of({"m.onnx": model_of(arrays)}, version=str(number)))
        return release_archive(path, registry, keys, 1.8e9 + number)

    for number in range(2):
        released(number)
    (key,) = (tmp_path / "keys").glob("targets*.pem")
    away = key.rename(tmp_path / "away.pem")
    staged = released(2)
    waiting = {path.name for path in folder.iterdir() if staged.digest in path.name}
    assert staged.state is ReleaseState.STAGED and waiting
    left = folder / f"{'a' * 64}-{'b' * 64}.pld"
    left.write_bytes(b"a release of before, killed before it came to this")
    (folder / "notes.txt").write_text("a person's")
    rotate_roles(registry, load_keys(tmp_path / "keys"), {"timestamp": None}, 1.8e9 + 5)
    assert waiting <= {path.name for path in folder.iterdir()}
    away.rename(key)
    publish_pending(registry, load_keys(tmp_path / "keys"), (), 1.8e9 + 9)
    assert waiting <= {path.name for path in folder.iterdir()}
    assert not left.exists() and (folder / "notes.txt").exists()


@given(data=st.data())
def test_equal_ranges_are_equal_and_long_ones_are_found(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    old = rng.integers(0, data.draw(st.sampled_from((2, 256))), data.draw(st.integers(0, 500)), np.uint8)
    begin = data.draw(st.integers(0, len(old)))
    run = old[begin : data.draw(st.integers(begin, len(old)))]
    before = rng.integers(0, 256, data.draw(st.integers(0, 90)), np.uint8)
    new = np.concatenate((before, run, rng.integers(0, 256, 40, np.uint8)))
    end, covered = 0, np.zeros(len(new), bool)
    for at, origin, size in EqualRanges(old).find(new):
        assert at >= end and (new[at : at + size] == old[origin : origin + size]).all()
        covered[at : at + size] = True
        end = at + size
    if len(run) >= 63:
        assert covered[len(before) : len(before) + len(run)].mean() > 0.5
