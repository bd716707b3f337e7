from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.archive import BLOCK, ArchiveReader, archive_chunks, entry_header, padding
from contract.errors import BadBundle
from contract.manifest import (
    Artefact,
    FileEntry,
    Label,
    LabelKind,
    Manifest,
    OutputKind,
    RuntimeKind,
    Thresholds,
    encode_manifest,
)
from contract.preprocess import PreprocessSpec


def manifest_of(files: dict[str, bytes]) -> bytes:
    entries = tuple(FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())
    first = next(iter(files))
    return encode_manifest(
        Manifest(
            name="m",
            version="1",
            created_at=0.0,
            labels=(Label("good", LabelKind.GOOD),),
            preprocess=PreprocessSpec(8, 8, 1, (0.5,), (0.5,)),
            artefacts=(Artefact(first, RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
            thresholds=Thresholds(0.9, 0.5),
            files=entries,
        )
    )


def archive(files: dict[str, bytes], manifest: bytes | None = None) -> bytes:
    entries = [(FileEntry(n, hashlib.sha256(d).hexdigest(), len(d)), [d]) for n, d in files.items()]
    return b"".join(archive_chunks(manifest or manifest_of(files), entries))


def read(data: bytes) -> dict[str, bytes]:
    return {entry.name: b"".join(content) for entry, content in ArchiveReader(io.BytesIO(data)).files()}


FILES = {"model.onnx": b"m" * 700, "golden.npz": b"g" * 512, "empty": b""}
GOOD = archive(FILES)

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=30).filter(
    lambda name: name not in {".", "..", "manifest.json"}
)


@given(st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=5))
def test_what_goes_in_comes_out_and_tar_reads_it_too(files: dict[str, bytes]) -> None:
    data = archive(files)
    assert read(data) == files
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [member.name for member in tar] == ["manifest.json", *files]
        assert all(tar.extractfile(name).read() == content for name, content in files.items())


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_lies_in_the_manifests_own_words(at: int, change: int) -> None:
    """The manifest vouches for all else; it is itself vouched for by the archive's hash."""
    changed = bytearray(GOOD)
    changed[at] ^= change
    inside_manifest = BLOCK <= at < BLOCK + len(manifest_of(FILES))
    try:
        assert read(bytes(changed)) == FILES
        assert inside_manifest
    except BadBundle:
        pass


@given(st.integers(0, len(GOOD) - 1))
def test_an_archive_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(BadBundle):
        read(GOOD[:length])


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_a_bad_bundle(data: bytes) -> None:
    with pytest.raises(BadBundle):
        read(data)


def hostile(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Return an archive by a true tar writer that holds one more, unwelcome entry in a file's place."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for each, data in (("manifest.json", manifest_of({"model.onnx": b"m"})), (name, b"m")):
            info = tarfile.TarInfo(each)
            info.size = len(data) if kind == tarfile.REGTYPE or each == "manifest.json" else 0
            if each == name:
                info.type, info.linkname = kind, link
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        hostile("../../etc/passwd"),
        hostile("/etc/passwd"),
        hostile("model.onnx", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("model.onnx", tarfile.LNKTYPE, "manifest.json"),
        hostile("model.onnx", tarfile.DIRTYPE),
        hostile("model.onnx", tarfile.FIFOTYPE),
        GOOD + bytes(512),
        GOOD[:-1] + b"x",
        archive(FILES)[: -2 * BLOCK] + entry_header("model.onnx", 700) + b"m" * 700 + padding(700) + bytes(2 * BLOCK),
        entry_header("manifest.json", 5 << 20) + bytes(5 << 20),
        entry_header("manifest.json", 2) + b"{}" + bytes(510),
    ],
)
def test_traversal_links_duplicates_and_lies_are_refused(data: bytes) -> None:
    with pytest.raises(BadBundle):
        read(data)


def test_file_larger_than_its_entry_is_not_written() -> None:
    entry = FileEntry("a", hashlib.sha256(b"abc").hexdigest(), 2)
    with pytest.raises(BadBundle, match="3 bytes, not 2"):
        b"".join(archive_chunks(b"{}", [(entry, [b"abc"])]))


def test_content_that_differs_from_its_hash_is_refused() -> None:
    lying = archive({"model.onnx": b"n" * 700, "golden.npz": b"g" * 512, "empty": b""}, manifest_of(FILES))
    with pytest.raises(BadBundle, match=r"model\.onnx"):
        read(lying)
