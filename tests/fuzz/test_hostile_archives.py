"""Archives made to deceive: a reader that knows one form has nothing to be tricked with (P3)."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from fuzz_targets import FILES, archive_of, manifest_of

from agent.slots.unpacked import open_archive
from contract.archive import BLOCK, ArchiveReader, entry_header, padding
from contract.errors import BadBundle
from contract.manifest import MANIFEST_NAME, FileEntry, encode_manifest

GOOD = archive_of(FILES)
KINDS = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "folder": tarfile.DIRTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
    "sparse file": tarfile.GNUTYPE_SPARSE,
    "contiguous file": tarfile.CONTTYPE,
}
NAMES = ("../outside", "/tmp/outside", "a/../../outside", "..", "x" * 101, "a\\b", "./model.onnx", "model.onnx/")


def with_member(member: tarfile.TarInfo, data: bytes, format: int) -> bytes:
    """Return a tar of a true manifest and then `member` in the place of the first file."""
    buffer = io.BytesIO()
    manifest = encode_manifest(manifest_of(FILES))
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        first = tarfile.TarInfo(MANIFEST_NAME)
        first.size = len(manifest)
        tar.addfile(first, io.BytesIO(manifest))
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def refuse(data: bytes, folder: Path) -> None:
    """Unpack as a station does: nothing comes out, neither inside nor outside of the slot."""
    archive, slot = folder / "bundle.plb", folder / "deep" / "slot"
    archive.write_bytes(data)
    with pytest.raises(BadBundle):
        open_archive(archive, slot)
    written = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()} - {archive}
    assert {path.parent for path in written} <= {slot}
    assert all(path.is_file() and not path.is_symlink() for path in written)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_plain_file_is_ever_unpacked(kind: str, format: int, tmp_path: Path) -> None:
    member = tarfile.TarInfo("model.onnx")
    member.type, member.linkname = KINDS[kind], "/etc/passwd"
    refuse(with_member(member, b"", format), tmp_path)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_slot(name: str, format: int, tmp_path: Path) -> None:
    refuse(with_member(tarfile.TarInfo(name), FILES["model.onnx"], format), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_the_manifest_leads_out_of_the_slot(name: str, tmp_path: Path) -> None:
    true = encode_manifest(manifest_of(FILES))
    lie = true.replace(b'"model.onnx"', b'"' + name.replace("\\", "\\\\").encode() + b'"')
    header = entry_header(MANIFEST_NAME, len(lie))
    refuse(header + lie + padding(len(lie)) + GOOD[len(header) + len(true) + len(padding(len(true))) :], tmp_path)


def test_a_manifest_that_its_header_calls_larger_than_it_may_be_is_refused_unread() -> None:
    stream = io.BytesIO(entry_header(MANIFEST_NAME, 8**11 - 1) + bytes(1 << 20))
    with pytest.raises(BadBundle, match="over"):
        ArchiveReader(stream)
    assert stream.tell() == BLOCK


@pytest.mark.parametrize("size_bytes", [1 << 32, 8**11 - 1])
def test_a_file_that_claims_gigabytes_takes_no_memory(size_bytes: int) -> None:
    files = (FileEntry("model.onnx", "0" * 64, size_bytes),)
    manifest = manifest_of({"model.onnx": b"m" * 8})
    lie = encode_manifest(
        type(manifest)(**{**{n: getattr(manifest, n) for n in manifest.__struct_fields__}, "files": files})
    )
    data = entry_header(MANIFEST_NAME, len(lie)) + lie + padding(len(lie)) + entry_header("model.onnx", size_bytes)
    reader = ArchiveReader(io.BytesIO(data + bytes(3000)))
    tracemalloc.start()
    try:
        with pytest.raises(BadBundle, match="ends inside"):
            for _, content in reader.files():
                for _ in content:
                    pass
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(GOOD),
        gzip.compress(bytes(64 << 20)),
        GOOD + b"\0",
        GOOD + GOOD,
        GOOD[:-BLOCK],
        GOOD[: -2 * BLOCK] + entry_header("more", 0) + GOOD[-2 * BLOCK :],
        b"",
    ],
    ids=["compressed", "bomb", "one byte more", "two in one", "half an end", "one file more", "empty"],
)
def test_what_is_not_the_one_form_is_refused(data: bytes, tmp_path: Path) -> None:
    refuse(data, tmp_path)
