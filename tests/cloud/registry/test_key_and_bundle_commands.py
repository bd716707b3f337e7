from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from cloud.commands import bundle, keys
from cloud.registry.bundle import BundleContent, build_bundle
from cloud.registry.durable_file import write_durably
from contract.errors import BadBundle, InvalidConfig
from contract.manifest import Artefact, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import PreprocessSpec


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    keys.register(subparsers)
    bundle.register(subparsers)
    args = parser.parse_args(words)
    return int(args.run(args))


def test_keys_init_names_the_file_every_station_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("keys", "init", "--out", str(tmp_path / "k")) == 0
    assert str(tmp_path / "k" / "order_key.json") in capsys.readouterr().out
    assert command("keys", "init", "--out", str(tmp_path / "l"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["order_key"]["public"]


def test_what_is_there_and_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    fifo, folder = tmp_path / "fifo", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    for path in (fifo, folder):
        with pytest.raises(InvalidConfig, match="no plain file"):
            write_durably(path, [b"x"])
    assert fifo.is_fifo() and folder.is_dir() and sorted(tmp_path.iterdir()) == [fifo, folder]


def test_a_corrupt_bundle_is_named_with_what_to_do(tmp_path: Path) -> None:
    torn = tmp_path / "torn.plb"
    torn.write_bytes(b"x" * 700)
    with pytest.raises(BadBundle) as caught:
        command("bundle", "verify", str(torn))
    assert f"'{torn}': " in caught.value.one_line() and caught.value.hint


def test_inspect_and_verify_show_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(b"model")
    content = BundleContent(
        name="steel",
        version="7",
        labels=(Label("good", LabelKind.GOOD),),
        preprocess=PreprocessSpec(8, 8, 1, (0.5,), (0.5,)),
        artefacts=(Artefact("m.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS),),
        thresholds=Thresholds(0.9, 0.5),
        files={"m.onnx": tmp_path / "m.onnx"},
        simulated=True,
    )
    path, digest = build_bundle(content, tmp_path / "b.plb", 0.0)
    assert command("bundle", "inspect", str(path)) == 0
    shown = capsys.readouterr().out
    assert digest in shown and "steel 7" in shown and "simulated" in shown
    assert command("bundle", "inspect", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["version"] == "7"
    assert command("bundle", "verify", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
