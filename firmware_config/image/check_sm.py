#!/usr/bin/env python3
"""Which GPUs a CUDA library has code for, and whether those of a Jetson are among them. Python 3.10's own library is all it needs.

ONNX Runtime lists a provider that was compiled in, code for the GPU at hand or not; a wheel for other GPUs is first found out on
the line ("no kernel image is available"). So an image's build asks the library itself: by NVIDIA's cuobjdump where there is one,
else by reading its fat binaries. Code for a minor version runs on later ones on desktop GPUs, not on Tegra: SM 87 needs code for SM
87.

Layout read here (little-endian): sections `.nv_fatbin` and `__nv_relfatbin` hold containers: magic u32, version u16, header bytes
u16, content bytes u64; then entries: kind u16 (1 PTX, 2 machine code), u16, header bytes u32, content bytes u64, ..., the SM u32 at
28. As GrigoryEvko/nvopen-tools describes it (fatbin/FORMAT_SPECIFICATION.md), and as nvcc 13.0 writes it.

example: check_sm.py --need 87 --need 110 .../onnxruntime/capi/libonnxruntime_providers_cuda.so
exit codes: 0 code for each of them, 1 not, 2 no library that can be read
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

_SECTIONS = (b".nv_fatbin", b"__nv_relfatbin")
_MAGICS = (0xBA55ED50, 0x466243B1)
_PTX, _CODE = 1, 2
# Kernels written for one generation alone are in no container of another: PyPI's onnxruntime-gpu 1.31.1 has SM 90 in 600 of its 609
# containers and SM 120 in 317. Far fewer than the commonest is a library that happens to have one kernel for it.
_LEAST_SHARE = 0.3


def code_by_reading(library: bytes) -> tuple[Counter[int], Counter[int]]:
    """Return in how many fat binaries there is machine code, and PTX, for each SM.

    Raises:
        ValueError: this is no 64-bit little-endian ELF file, or it is torn.
    """
    code: Counter[int] = Counter()
    ptx: Counter[int] = Counter()
    try:
        for content in _fat_sections(library):
            for found in _containers(content):
                code.update({sm for kind, sm in found if kind == _CODE})
                ptx.update({sm for kind, sm in found if kind == _PTX})
    except struct.error as error:
        raise ValueError(f"torn: {error}") from error
    return code, ptx


def _fat_sections(library: bytes) -> list[bytes]:
    if library[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", library, 40)
    size, count, names_at = struct.unpack_from("<HHH", library, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", library, table + number * size) for number in range(count)]
    if names_at >= len(headers):
        return []
    names = library[headers[names_at][4] : headers[names_at][4] + headers[names_at][5]]
    found = []
    for header in headers:
        if names[header[0] : names.find(b"\0", header[0])] in _SECTIONS:
            content = library[header[4] : header[4] + header[5]]
            if len(content) != header[5]:
                raise ValueError("torn: a section ends after the file")
            found.append(content)
    return found


def _containers(section: bytes) -> list[list[tuple[int, int]]]:
    found = []
    at = 0
    while at + 16 <= len(section):
        magic, _, header, size = struct.unpack_from("<IHHQ", section, at)
        if magic not in _MAGICS:
            at += 8  # containers are aligned, and zeros lie between them
            continue
        at, end = at + header, at + header + size
        if header < 16 or end > len(section):
            raise ValueError("torn: a fat binary without a header, or that ends after its section")
        entries = []
        while at + 64 <= end:
            kind, _, entry, content = struct.unpack_from("<HHIQ", section, at)
            if entry < 64:
                raise ValueError("torn: an entry without a header")
            entries.append((kind, struct.unpack_from("<I", section, at + 28)[0]))
            at += entry + content
        found.append(entries)
        at = end
    return found


def code_by_cuobjdump(program: str, library: Path) -> tuple[Counter[int], Counter[int]]:
    """Return the same as `code_by_reading`, in files rather than fat binaries, from NVIDIA's own tool.

    Raises:
        OSError, subprocess.SubprocessError: it failed.
    """

    def listed(what: str) -> Counter[int]:
        done = subprocess.run((program, what, str(library)), capture_output=True, text=True, timeout=600, check=False)
        # It ends with 255 where a library has no such code at all, and says so.
        if done.returncode and "does not contain" not in done.stdout + done.stderr:
            raise subprocess.SubprocessError(f"cuobjdump {what}: {done.stderr.strip()[-200:]}")
        return Counter(int(sm) for sm in re.findall(r"\.sm_(\d+)[af]?\.(?:cubin|ptx)\s*$", done.stdout, re.MULTILINE))

    return listed("--list-elf"), listed("--list-ptx")


def verdict(need: list[int], code: Counter[int], ptx: Counter[int], *, allow_ptx: bool) -> list[str]:
    """Return what is wrong, in a line each; nothing where each needed SM has code."""
    wrong = []
    commonest = max(code.values(), default=0)
    for sm in need:
        if code[sm] and code[sm] >= commonest * _LEAST_SHARE:
            continue
        if allow_ptx and any(each <= sm for each in ptx):
            continue
        there = ", ".join(f"{each} ({code[each]})" for each in sorted(code)) or "none"
        wrong.append(f"too little code for SM {sm}: {code[sm]} of at most {commonest} parts; there is code for {there}")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Say what there is; return 0 when each needed SM has code, 1 when one has not, 2 when nothing could be read."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        description=lines[0], epilog="\n".join(lines[-2:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--need", type=int, action="append", default=[], metavar="SM", help="87: Orin; 110: Thor; 72: Xavier"
    )
    parser.add_argument(
        "--allow-ptx", action="store_true", help="let PTX of an older SM do: compiled at every first start"
    )
    parser.add_argument("--read", action="store_true", help="read the file, even where there is a cuobjdump")
    parser.add_argument("library", type=Path, nargs="+")
    args = parser.parse_args(arguments)
    failed = False
    program = None if args.read else shutil.which("cuobjdump")
    for library in args.library:
        try:
            code, ptx = code_by_cuobjdump(program, library) if program else code_by_reading(library.read_bytes())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"error: {library}: {error}", file=sys.stderr)
            return 2
        said = "; ".join(
            f"{what} for {', '.join(f'SM {sm} ({found[sm]})' for sm in sorted(found)) or 'none'}"
            for what, found in (("code", code), ("PTX", ptx))
        )
        print(f"{library.name}: {said}")
        for line in verdict(args.need, code, ptx, allow_ptx=args.allow_ptx):
            failed = True
            print(f"error: {library}: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
