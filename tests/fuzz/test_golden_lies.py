"""Golden vectors made to deceive: refused in words, before anything is unpickled or allocated (OTA-4)."""

from __future__ import annotations

import io
import math
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import PIXELS, SCORES, npz
from update_plant import bundle_content

from agent.commands.selftest import selftest
from agent.slots.golden_file import read_golden
from agent.slots.unpacked import open_archive
from cloud.registry.bundle import build_bundle
from contract.errors import BadBundle


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    """Return an array file whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def zipped(pixels: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer, scores = io.BytesIO(), io.BytesIO()
    np.save(scores, SCORES)
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("pixels.npy", pixels)
        archive.writestr("scores.npy", scores.getvalue())
    return buffer.getvalue()


class Bomb:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/plumbline-golden-bomb"),)  # type: ignore[return-value]


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, pixels=np.array([Bomb()], object), scores=SCORES)
    return buffer.getvalue()


def flagged_encrypted() -> bytes:
    data = bytearray(npz(pixels=PIXELS, scores=SCORES))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def plain_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, PIXELS)
    return buffer.getvalue()


LIES = {
    "a pickle": pickled(),
    "terabytes": zipped(npy("(1099511627776, 8, 8, 1)")),
    "past any number": zipped(npy(f"({2**63}, {2**63}, 8)")),
    "sides below nothing": zipped(npy("(-2, -8, 8)", data=bytes(128))),
    "more than there is": zipped(npy("(2, 8, 8, 1)", data=bytes(100))),
    "less than there is": zipped(npy("(2, 8, 8, 1)", data=bytes(200))),
    "a bomb": zipped(npy(f"({1 << 29},)", data=bytes(1 << 20)), zipfile.ZIP_DEFLATED),
    "no sides": zipped(npy("()", data=b"\0")),
    "a true side": zipped(npy("(True, 8, 8)", data=bytes(64)), zipfile.ZIP_BZIP2),
    "other numbers": npz(pixels=PIXELS.astype(np.float32), scores=SCORES),
    "scores that are words": npz(pixels=PIXELS, scores=np.full((2, 2), "0.5")),
    "complex scores": npz(pixels=PIXELS, scores=SCORES.astype(np.complex64)),
    "records": zipped(npy("(2,)", "[('a', '|u1')]", bytes(2))),
    "a header of code": zipped(npy("(__import__('os').abort(),)")),
    "a header nested deep": zipped(npy("(" * 9000)),
    "an encrypted member": flagged_encrypted(),
    "one array alone": plain_npy(),
    "no scores": npz(pixels=PIXELS),
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_in_words_and_costs_no_memory(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(LIES[lie])
    tracemalloc.start()
    try:
        if lie == "no sides":
            assert read_golden(path)[0].shape == ()  # true to its word; the self-test asks for images
        else:
            with pytest.raises(BadBundle, match=r"golden\.npz"):
                read_golden(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert not Path("/tmp/plumbline-golden-bomb").exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_true_golden_vectors_are_read_as_written(compressed: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8), np.uint8)
    scores = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(3, 2))
    (np.savez_compressed if compressed else np.savez)(tmp_path / "g.npz", pixels=pixels, scores=scores)
    found = read_golden(tmp_path / "g.npz")
    assert np.array_equal(found[0], pixels) and np.array_equal(found[1], scores) and found[1].dtype == np.float32


@pytest.mark.parametrize("golden_shift", [math.nan, math.inf])
def test_scores_that_nothing_can_be_compared_with_pass_no_self_test(golden_shift: float, tmp_path: Path) -> None:
    content = bundle_content(tmp_path / "content", "1", golden_shift=golden_shift)
    archive, _ = build_bundle(content, tmp_path / "bundle.plb", 1.0)
    open_archive(archive, tmp_path / "slot")
    with pytest.raises(BadBundle, match="nothing could be compared"):
        selftest(tmp_path / "slot")


def test_an_image_without_sides_passes_no_self_test(tmp_path: Path) -> None:
    content = bundle_content(tmp_path / "content", "1")
    content.files["golden.npz"].write_bytes(LIES["no sides"])
    archive, _ = build_bundle(content, tmp_path / "bundle.plb", 1.0)
    open_archive(archive, tmp_path / "slot")
    with pytest.raises(BadBundle, match="holds pixels"):
        selftest(tmp_path / "slot")
