"""One target under atheris, in a process of its own: `python run_atheris.py TARGET CORPUS [libFuzzer options]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["agent", "contract", "tuf.api", "securesystemslib"]):
    from fuzz_targets import TARGETS


def main() -> None:
    """Fuzz until the options say stop; a law that breaks ends the process with libFuzzer's code 77."""
    target, corpus = TARGETS[sys.argv[1]], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
        target.law(seed)  # what is imported late, or made once, is no leak of the first input
    # One input may take 10 s and the whole process 1 GiB: both are part of every law.
    limits = ["-timeout=10", "-rss_limit_mb=1024", f"-max_len={target.max_bytes}"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *sys.argv[3:]], target.law)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
