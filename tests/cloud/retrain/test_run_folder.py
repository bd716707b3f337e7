from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import DatasetEntry, DatasetManifest, Split
from contract.errors import BadDataset, NotFound

ENTRY = DatasetEntry("a.png", 0, "0" * 64, "good", "ann", "base", Split.TRAIN, "p1")


@given(st.text(max_size=20), st.sampled_from(Split), st.floats(0.001, 1.0), st.booleans())
def test_manifest_survives_its_file(text: str, split: Split, inclusion: float, audit: bool) -> None:
    entry = msgspec.structs.replace(ENTRY, file=text, part=text, split=split, inclusion=inclusion, audit=audit)
    manifest = DatasetManifest((text,), (entry,))
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=DatasetManifest) == manifest


def test_files_are_written_whole_and_leave_nothing_behind(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_dataset(DatasetManifest(("d",), (ENTRY,)))
    run.save_golden(np.zeros((2, 3, 3), np.uint8), np.ones((2, 4), np.float32))
    assert run.dataset().entries == (ENTRY,) and run.load_golden()[1].shape == (2, 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.json", "golden.npz"]
    assert not run.is_trained()


def test_missing_and_damaged_files_say_which_step_mends_them(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for read, step in ((run.info, "train"), (run.quantize_report, "quantize"), (run.gate_report, "gate")):
        with pytest.raises(NotFound) as caught:
            read()
        assert f"plumbline-cloud {step}" in caught.value.hint
    (tmp_path / "run.json").write_text('{"recipe": {')
    with pytest.raises(BadDataset, match=r"run\.json is damaged"):
        run.info()
    (tmp_path / "golden.npz").write_bytes(b"PK torn")
    with pytest.raises(BadDataset, match=r"golden\.npz is damaged"):
        run.load_golden()
