"""What a bundle that means harm, or does it, can do in its self-test: be turned down in one line, and leave nothing behind."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import sys
import time
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.slots.selftest import SubprocessSelfTest, memory_limit_mib
from agent.slots.unpacked import open_archive
from contract.archive import archive_chunks
from contract.manifest import Compatibility, FileEntry, Golden, Manifest, Resources, encode_manifest
from tests.agent import odd_models
from tests.tiny_bundle import manifest_of, model_bytes

ROOT = Path(__file__).resolve().parents[3]
COMMAND = (
    sys.executable,
    "-c",
    "import argparse, sys; from agent.commands import selftest; p = argparse.ArgumentParser();"
    " selftest.register(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))",
    "selftest",
)
BRIGHT, DARK = np.full((8, 8, 1), 230, np.uint8), np.full((8, 8, 1), 20, np.uint8)
TRUE_SCORES = ((8.039, -8.039), (-8.431, 8.431))
"""Of bright and dark, by the tiny model."""


@pytest.fixture(autouse=True)
def these_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subprocess starts in "/": it must find the sources under test, not others that are installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def unpacked(
    tmp_path: Path,
    model: bytes,
    *,
    scores: object = TRUE_SCORES,
    pixels: object = (BRIGHT, DARK),
    max_abs_error: float = 0.01,
    golden: bytes = b"",
    **changes: object,
) -> Path:
    """Unpack a bundle of `model` with these golden vectors (or this golden file); return its folder."""
    made = io.BytesIO()
    np.savez_compressed(made, pixels=np.asarray(pixels), scores=np.asarray(scores, np.float32))
    golden = golden or made.getvalue()
    manifest = manifest_of(model, pass_at=0.9)
    files = (*manifest.files, FileEntry("golden.npz", hashlib.sha256(golden).hexdigest(), len(golden)))
    changed: Manifest = msgspec.structs.replace(
        manifest, files=files, golden=Golden("golden.npz", max_abs_error), **changes
    )
    archive = tmp_path / "bundle.plb"
    contents = [(files[0], [model]), (files[1], [golden])]
    archive.write_bytes(b"".join(archive_chunks(encode_manifest(changed), contents)))
    open_archive(archive, tmp_path / "slot")
    return tmp_path / "slot"


def told(folder: Path, **limits: object) -> str:
    return SubprocessSelfTest(**({"command": COMMAND} | limits)).run(folder)  # type: ignore[arg-type]


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_a_true_bundle_passes(tmp_path: Path) -> None:
    assert told(unpacked(tmp_path, model_bytes())) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("all pass", "says good, PASS of golden input 1, not scratch, REJECT"),
        ("swapped", "says scratch, REJECT of golden input 0, not good, PASS"),
        ("not a number", "gave NaN"),
        ("grows", "model.onnx"),
    ],
)
def test_a_model_that_decides_otherwise_fails_though_its_tolerance_lets_any_score_through(
    tmp_path: Path, name: str, words: str
) -> None:
    said = told(unpacked(tmp_path, odd_models.ODD[name](), max_abs_error=1e6))
    assert words in said and "\n" not in said


def test_a_golden_answer_that_rounding_decides_is_not_held_against_a_model(tmp_path: Path) -> None:
    # Pixels at mean 0.5: both labels are equally likely, and the golden scores lean the other way by a hair.
    grey = np.full((8, 8, 1), 128, np.uint8)
    folder = unpacked(tmp_path, model_bytes(gain=0.01), pixels=(grey,), scores=((-1e-4, 1e-4),))
    assert told(folder) == ""


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_golden_scores_that_are_no_numbers_prove_nothing(tmp_path: Path, bad: float) -> None:
    folder = unpacked(tmp_path, odd_models.all_pass(), scores=((bad, bad), (bad, bad)), max_abs_error=1e6)
    assert "nothing could be compared with" in told(folder)


def test_golden_vectors_that_are_not_there_fail(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, model_bytes())
    (folder / "golden.npz").unlink()
    assert "golden.npz" in told(folder)


def test_a_golden_file_that_unpacks_to_more_than_the_limit_is_stopped(tmp_path: Path) -> None:
    bomb, head = io.BytesIO(), io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": (1, 40_000, 40_000)}
    np.lib.format.write_array_header_1_0(head, facts)
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("pixels.npy", head.getvalue())
    folder = unpacked(tmp_path, model_bytes(), golden=bomb.getvalue(), resources=Resources(10.0))
    assert "claims 1600000000 bytes" in told(folder)


def test_a_bundle_gets_the_memory_it_was_measured_to_take_and_some_more_and_no_more(tmp_path: Path) -> None:
    manifest = manifest_of(model_bytes())
    assert memory_limit_mib(manifest, 4096) == 4096, "never measured: the most there is"
    limits = [
        memory_limit_mib(msgspec.structs.replace(manifest, resources=Resources(mib)), 4096) for mib in (1, 100, 9999)
    ]
    assert limits == [771, 1068, 4096]
    # 1.2 GB for each frame, where 10 MiB were measured.
    folder = unpacked(tmp_path, odd_models.grows(300_000_000), resources=Resources(10.0))
    assert "model.onnx" in told(folder)


def test_what_prints_without_end_is_stopped_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, model_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = script("import os\nwhile True: os.write(2, b'x' * 65536)")
    assert "printed more than 1 MiB" in told(folder, command=flood)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_the_last_line_is_told_and_no_more_of_it_than_a_person_reads(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, model_bytes())
    text = "import sys; print('warning\\n' * 999 + 'error: it is torn' + '!' * 999, file=sys.stderr); sys.exit(1)"
    assert told(folder, command=script(text)).startswith("it is torn!!!")
    assert len(told(folder, command=script(text))) == 300
    assert told(folder, command=script("raise SystemExit(3)")) == "the self-test ended with code 3"


def test_a_grandchild_that_outlives_a_passed_test_is_killed_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    folder, pid = unpacked(tmp_path, model_bytes()), tmp_path / "pid"
    grandchild = "import time; time.sleep(60)"
    spawn = (
        "import pathlib, subprocess, sys;"
        f" p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); pathlib.Path({str(pid)!r}).write_text(str(p.pid))"
    )
    began = time.monotonic()
    assert told(folder, command=script(spawn)) == ""
    assert time.monotonic() - began < 30
    until = time.monotonic() + 60
    while _runs(int(pid.read_text())) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _runs(int(pid.read_text()))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it is gone, or went while it was read
        return False
    return state not in "ZX"


def test_it_inherits_no_file_and_gives_way_to_the_line_and_would_end_without_us(tmp_path: Path) -> None:
    folder, facts = unpacked(tmp_path, model_bytes()), tmp_path / "facts"
    read, write = os.pipe()
    os.set_inheritable(write, True)
    look = (
        "import os, pathlib, resource, signal, sys; from agent.health.own_limits import limit_this_process;"
        " given = dict(zip(sys.argv[2::2], map(int, sys.argv[3::2])));"
        " limit_this_process(given['--memory-mib'], given['--cpu-s'], given['--wall-s'], given['--nice']);"
        f" out = open({str(facts)!r}, 'w'); print(sorted(os.listdir('/proc/self/fd')), os.getpriority(os.PRIO_PROCESS, 0),"
        " resource.getrlimit(resource.RLIMIT_CORE)[0], signal.getitimer(signal.ITIMER_REAL)[0] > 0,"
        " open('/proc/self/oom_score_adj').read().strip(), sep=';', file=out)"
    )
    try:
        assert told(folder, command=script(look)) == ""
    finally:
        os.close(read)
        os.close(write)
    fds, nice, core, alarm, oom = facts.read_text().strip().split(";")
    # Its own `facts`, the listing itself, and 0, 1, 2.
    assert len(fds.split(",")) <= 5 and f"'{write}'" not in fds
    assert int(nice) >= 10 and core == "0" and alarm == "True" and oom == "1000"


def test_a_bundle_that_is_not_made_for_this_station_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, model_bytes(), compatibility=Compatibility(machines=("riscv64",)))

    def unfit(compatibility: Compatibility) -> list[str]:
        return [f"it runs on {', '.join(compatibility.machines)}, this is x86_64"]

    said = told(folder, command=script("raise SystemExit('started')"), unfit=unfit)
    assert said == "it is not made for this station: it runs on riscv64, this is x86_64"


def test_a_folder_without_a_manifest_is_said_to_be_none(tmp_path: Path) -> None:
    assert "manifest.json" in told(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"{")
    assert "no bundle manifest" in told(tmp_path)
