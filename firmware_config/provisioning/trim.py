"""`python -m firmware_config.provisioning.trim`: take from this environment what wheels bring and no station runs.

Tests, converters, a second backend, and the plant's half of plumbline-edge: a quarter of what pip puts on the disk. Nothing
that is imported goes; the trial start and the doctor of scripts/install-agent come after it and would tell.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import sysconfig
from pathlib import Path

_EPILOG = """\
example:
  /opt/plumbline/current/bin/python -m firmware_config.provisioning.trim
"""

# Globs below site-packages.
UNUSED = (
    "cloud",  # the plant's half: it runs elsewhere, and lacks its requirements here
    "numpy/**/tests",
    "numpy/f2py",  # a Fortran compiler's front
    "numpy/distutils",
    "onnxruntime/transformers",  # converters and quantizers, for whoever makes a bundle
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/datasets",
    "zstandard/_cffi*.so",  # the backend of PyPy; CPython takes backend_c
    "zstandard/backend_cffi.py",
)
_COMMANDS = ("plumbline-cloud", "f2py", "numpy-config", "onnxruntime_test")


def trim(packages: Path, commands: Path) -> int:
    """Remove what is in `UNUSED` from the folder `packages`, and its commands; return the bytes that went."""
    gone = 0
    found = [path for pattern in UNUSED for path in sorted(packages.glob(pattern)) if path.exists()]
    for path in (*found, *(commands / name for name in _COMMANDS)):
        if path.is_dir():
            gone += sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())
            shutil.rmtree(path)
        elif path.exists():
            gone += path.lstat().st_size
            path.unlink()
    return gone


def main(arguments: list[str] | None = None) -> int:
    """Trim the environment of the running Python, which must be a virtual one."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.provisioning.trim",
        description="Take from this virtual environment what wheels bring and no station runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    packages = Path(sysconfig.get_path("purelib"))
    if sys.prefix == sys.base_prefix or not Path(__file__).is_relative_to(packages):
        print(
            "error: this is not a station's own virtual environment (scripts/install-agent makes one)", file=sys.stderr
        )
        return 2
    print(f"{trim(packages, Path(sysconfig.get_path('scripts'))) / 1e6:.2f} MB that no station runs were taken away")
    return 0


if __name__ == "__main__":
    sys.exit(main())
