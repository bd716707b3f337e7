"""A library without code for a Jetson's GPU is found out while the image is built: firmware_config/image/check_sm.py."""

from __future__ import annotations

import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.kernel_build import find_nvcc
from firmware_config.image.check_sm import code_by_cuobjdump, code_by_reading, main, verdict

PTX, CODE = 1, 2
Entries = list[tuple[int, int]]


def fat_binary(entries: Entries, magic: int = 0xBA55ED50) -> bytes:
    content = b""
    for kind, sm in entries:
        header = 64 if sm < 100 else 104  # as nvcc 13.0 writes them
        content += struct.pack("<HHIQIIHHI", kind, 0x101, header, 24, 20, 0, 1, 1, sm).ljust(header, b"\0") + b"c" * 24
    return struct.pack("<IHHQ", magic, 1, 16, len(content)) + content


def library(*fats: Entries, section: bytes = b".nv_fatbin") -> bytes:
    # Between fat binaries lie zeros, up to the next multiple of eight.
    content = b"\0" * 8 + b"".join(
        fat_binary(each).ljust(-(-len(fat_binary(each)) // 8) * 8 + 16, b"\0") for each in fats
    )
    names = b"\0.text\0" + section + b"\0.shstrtab\0"
    at = 64 + len(content)
    table = at + len(names)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 0, table, 0, 64, 0, 0, 64, 4, 3)
    rows = [
        (0,) * 10,
        (1, 1, 0, 0, 64, 0, 0, 0, 1, 0),
        (7, 1, 0, 0, 64, len(content), 0, 0, 8, 0),
        (8 + len(section), 3, 0, 0, at, len(names), 0, 0, 1, 0),
    ]
    return header + content + names + b"".join(struct.pack("<IIQQQQIIQQ", *row) for row in rows)


ENTRIES = st.lists(
    st.tuples(st.sampled_from((PTX, CODE, 0x40)), st.sampled_from((72, 80, 87, 90, 110, 121))), max_size=6
)


@given(st.lists(ENTRIES, max_size=5), st.sampled_from((b".nv_fatbin", b"__nv_relfatbin")))
def test_what_is_in_the_fat_binaries_is_counted_once_each(fats: list[Entries], section: bytes) -> None:
    code, ptx = code_by_reading(library(*fats, section=section))
    assert code == Counter(sm for fat in fats for sm in {sm for kind, sm in fat if kind == CODE})
    assert ptx == Counter(sm for fat in fats for sm in {sm for kind, sm in fat if kind == PTX})


@given(st.data())
def test_a_torn_or_altered_file_is_an_answer_or_a_value_error(data: st.DataObject) -> None:
    whole = bytearray(library([(CODE, 87), (PTX, 90)], [(CODE, 110)]))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    torn = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        code_by_reading(torn)
    except ValueError as error:
        assert str(error)


def test_desktop_code_of_the_same_generation_does_not_run_on_orin() -> None:
    assert verdict([87], Counter({80: 9, 86: 9}), Counter(), allow_ptx=True)
    assert not verdict([87], Counter({87: 9}), Counter(), allow_ptx=False)
    assert not verdict([87, 110], Counter({87: 600, 110: 317}), Counter(), allow_ptx=False)


def test_one_kernel_for_it_is_not_code_for_it() -> None:
    (said,) = verdict([87], Counter({87: 3, 90: 600}), Counter(), allow_ptx=False)
    assert "SM 87: 3 of at most 600 parts" in said


def test_ptx_does_only_where_it_is_allowed_and_not_too_new() -> None:
    assert verdict([87], Counter(), Counter({75: 1}), allow_ptx=False)
    assert not verdict([87], Counter(), Counter({75: 1}), allow_ptx=True)
    assert verdict([87], Counter(), Counter({90: 1}), allow_ptx=True)


def test_exit_codes_and_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, text = tmp_path / "good.so", tmp_path / "bad.so", tmp_path / "text.so"
    good.write_bytes(library([(CODE, 87), (CODE, 110)]))
    bad.write_bytes(library([(CODE, 90)], [(CODE, 90), (CODE, 121)]))
    text.write_text("no library")
    assert main(["--read", "--need", "87", "--need", "110", str(good)]) == 0
    assert "code for SM 87 (1), SM 110 (1)" in capsys.readouterr().out
    assert main(["--read", "--need", "87", str(good), str(bad)]) == 1
    assert "too little code for SM 87" in capsys.readouterr().err
    assert main(["--read", str(text)]) == main(["--read", str(tmp_path / "none.so")]) == 2
    assert "no 64-bit little-endian ELF file" in capsys.readouterr().err


def test_cuobjdump_is_asked_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No cuobjdump is here: this program answers in the form that NVIDIA documents.
    program = tmp_path / "cuobjdump"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '  --list-elf) printf "ELF file    1: libx.1.sm_87.cubin\\nELF file    2: libx.2.sm_87.cubin\\n'
        'ELF file    3: libx.3.sm_110a.cubin\\n" ;;\n'
        "  *) echo \"cuobjdump info    : File 'libx.so' does not contain device code\" >&2; exit 255 ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    assert code_by_cuobjdump(str(program), tmp_path / "libx.so") == (Counter({87: 2, 110: 1}), Counter())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert main(["--need", "110", str(tmp_path / "libx.so")]) == 0
    program.write_text("#!/bin/sh\necho 'fatal' >&2; exit 1\n")
    assert main(["--need", "110", str(tmp_path / "libx.so")]) == 2


@pytest.mark.parametrize("sms", [(87,), (110,), (87, 110)], ids=str)
def test_what_nvcc_writes_is_read(tmp_path: Path, sms: tuple[int, ...]) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc here")
    (tmp_path / "k.cu").write_text('extern "C" __global__ void k(float *x) { x[threadIdx.x] += 1; }\n')
    wanted = [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in sms]
    options = ("-shared", "-Xcompiler=-fPIC", "-cudart=none", "-o", tmp_path / "k.so", tmp_path / "k.cu")
    subprocess.run((nvcc, *wanted, *options), check=True, capture_output=True)
    assert code_by_reading((tmp_path / "k.so").read_bytes()) == (Counter(sms), Counter())
