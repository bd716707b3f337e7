from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from update_plant import NOW, bundle_content

from agent.slots.selftest import SubprocessSelfTest
from agent.slots.unpacked import open_archive
from cloud.registry.bundle import BundleContent, build_bundle
from contract.errors import TransientError

# `python -m agent selftest`, without the other commands of `agent.__main__`.
COMMAND = (
    sys.executable,
    "-c",
    "import argparse, sys; from agent.commands import selftest; p = argparse.ArgumentParser();"
    " selftest.register(p.add_subparsers()); a = p.parse_args(); sys.exit(a.run(a))",
    "selftest",
)


@pytest.fixture(autouse=True)
def these_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subprocess starts in "/": it must find the sources under test, not others that are installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))


def unpacked(tmp_path: Path, content: BundleContent) -> Path:
    archive, _ = build_bundle(content, tmp_path / "bundle.plb", NOW)
    open_archive(archive, tmp_path / "slot")
    return tmp_path / "slot"


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_true_bundle_passes_within_its_limits(tmp_path: Path) -> None:
    assert SubprocessSelfTest(command=COMMAND).run(unpacked(tmp_path, bundle_content(tmp_path / "c", "1"))) == ""


def test_the_agents_own_command_is_what_runs(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1", golden_shift=0.5))
    assert "golden scores" in SubprocessSelfTest().run(folder)


def test_bundle_whose_golden_scores_lie_fails_with_the_figures(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1", golden_shift=0.5))
    assert "0.5 off its golden scores" in SubprocessSelfTest(command=COMMAND).run(folder)


def test_model_that_does_not_load_fails_in_words(tmp_path: Path) -> None:
    content = bundle_content(tmp_path / "c", "1")
    content.files["model.onnx"].write_bytes(b"not a model")
    said = SubprocessSelfTest(command=COMMAND).run(unpacked(tmp_path, content))
    assert "model.onnx" in said and "\n" not in said


def test_changed_slot_fails(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1"))
    (folder / "model.onnx").write_bytes(b"changed")
    assert "model.onnx" in SubprocessSelfTest(command=COMMAND).run(folder)


@pytest.mark.parametrize("name", ["numpy.py", "onnxruntime.py"])
def test_files_of_a_bundle_are_never_imported(tmp_path: Path, name: str) -> None:
    content = bundle_content(tmp_path / "c", "1")
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('imported')")
    files = {**content.files, name: evil}
    folder = unpacked(tmp_path, BundleContent(**{n: getattr(content, n) for n in content.__slots__} | {"files": files}))
    assert SubprocessSelfTest(command=COMMAND).run(folder) == ""


def test_hang_is_killed_with_its_children(tmp_path: Path) -> None:
    folder, child = unpacked(tmp_path, bundle_content(tmp_path / "c", "1")), tmp_path / "child"
    # A shell: it has started its child long before its time is up, however busy the machine is.
    hang = ("sh", "-c", f"sleep 300 & echo $! > {child}; wait")
    began = time.monotonic()
    assert "hung" in SubprocessSelfTest(timeout_s=2.0, command=hang).run(folder)
    assert time.monotonic() - began < 60
    gone = time.monotonic() + 60.0
    while time.monotonic() < gone and alive(int(child.read_text())):
        time.sleep(0.01)
    assert not alive(int(child.read_text()))


@pytest.mark.parametrize("prints", ["pass", "print('x' * 4000, file=sys.stderr, flush=True); time.sleep(0.01)"])
def test_a_station_that_stops_takes_its_self_test_along_and_says_nothing_of_the_bundle(
    tmp_path: Path, prints: str
) -> None:
    folder, mark = unpacked(tmp_path, bundle_content(tmp_path / "c", "1")), tmp_path / "pids"
    child = "import time; time.sleep(60)"
    busy = (
        "import os, pathlib, subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', "
        f"{child!r}]); pathlib.Path({str(tmp_path / 'new')!r}).write_text(f'{{os.getpid()}} {{c.pid}}');"
        f" os.rename({str(tmp_path / 'new')!r}, {str(mark)!r});\n"
        f"for _ in range(200): {prints}\n"
        "time.sleep(60)"
    )
    asked: list[float] = []

    def stops() -> bool:
        if mark.exists():
            asked.append(time.monotonic())
        return mark.exists()

    with pytest.raises(TransientError, match="the station stops"):
        SubprocessSelfTest(command=script(busy), should_stop=stops).run(folder)
    assert time.monotonic() - asked[0] < 30.0  # by itself it would end after 60
    for pid in mark.read_text().split():
        gone = time.monotonic() + 60.0
        while time.monotonic() < gone and alive(int(pid)):
            time.sleep(0.01)
        assert not alive(int(pid))


def alive(pid: int) -> bool:
    """Whether it runs: a zombie that nobody reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_crash_and_memory_hog_are_named(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1"))
    assert "SIGSEGV" in SubprocessSelfTest(command=script("import os; os.kill(os.getpid(), 11)")).run(folder)
    assert SubprocessSelfTest(command=COMMAND, memory_mib=120).run(folder) != ""


def test_command_prints_one_json_object(tmp_path: Path) -> None:
    import subprocess

    folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1"))
    done = subprocess.run((*COMMAND, str(folder), "--json"), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["ok"] and answer["inputs"] == answer["decisions"] == 3 and answer["max_abs_error"] < 1e-3
    assert 1 < answer["memory_mib"] < 500 and 0 < answer["seconds"] < 60
    done = subprocess.run((*COMMAND, str(tmp_path), "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not json.loads(done.stdout)["ok"] and len(done.stderr.splitlines()) == 1


def test_a_process_that_cannot_be_started_is_no_fault_of_the_bundles(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="could not be started"):
        folder = unpacked(tmp_path, bundle_content(tmp_path / "c", "1"))
        SubprocessSelfTest(command=(str(tmp_path / "none"),)).run(folder)
