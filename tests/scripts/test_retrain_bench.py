"""The harness of `bench retrain`: what is dealt is disjoint, what is spoilt is spoilt, and rates count what they say."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloud.quantize.job import QuantizeJob
from cloud.quantize.ranges import Calibration
from cloud.retrain.job import TrainJob
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Recipe, Split
from contract.errors import NotFound
from scripts.benches.budget import TARGETS
from scripts.benches.retrain_candidates import Candidate, Fault, Rounding, bad_candidates, good_candidates
from scripts.benches.retrain_gate import Verdict, judge, measure_trials, rates, verdict_lines
from scripts.benches.retrain_pictures import Deal, Drift, Picture, deal_steel, deal_tiles, draw_labels, write_folders
from scripts.benches.retrain_recovery import Effort, measure_recovery
from scripts.benches.retrain_runs import file_right, make_run
from scripts.benches.retrain_schemes import SchemeEffort, measure_schemes
from scripts.benches.retrain_spoil import spoil_int8
from scripts.benches.retrain_tables import retrain_tables
from scripts.benches.retrain_traps import mark, marked_parent, mislabelled_parent, wrong_labels
from scripts.benches.retrain_trials import Bed, Trial, Truth

LABELS = ("crazing", "patches", "scratches")
TINY = Recipe(epochs=1, min_steps=6, warm_steps=4, width=0.5)


def write_steel(folder: Path, of_label: int) -> None:
    """Write stripes of three widths, named as the steel images are."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    for period, label in zip((4, 8, 16), LABELS, strict=True):
        for number in range(of_label):
            wave = 120 + 60 * np.sin(2 * np.pi * np.arange(48) / period + rng.uniform(0, 6))
            pixels = np.clip(wave + rng.normal(0, 8, (48, 48)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{label}_{number + 1}.jpg", quality=95)


def write_tiles(folder: Path, tiles: int) -> None:
    """Write grainy tiles of two classes at six exposures, each tile minutes after the one before."""
    rng = np.random.default_rng(6)
    for tile in range(tiles):
        for exposure in range(1, 7):
            of_kind = folder / ("Free" if tile % 3 else "Crack")
            of_kind.mkdir(exist_ok=True, parents=True)
            pixels = (40 + 20 * exposure + rng.normal(0, 4, (32, 32))).astype(np.uint8)
            Image.fromarray(pixels).save(of_kind / f"exp{exposure}_num_{1000 * tile + 20 * exposure}.jpg")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    write_steel(made / "data" / "neu", 30)
    write_tiles(made / "data" / "magnetic-tile", 30)
    return made


@pytest.fixture(autouse=True)
def _there(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_DATA", str(data))


@pytest.fixture(scope="module")
def run(data: Path) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUMBLINE_DATA", str(data))
        base = write_folders(deal_steel(of_label=30).base, data / "base-images")
    job = TrainJob(out=str(data / "base"), data=str(base), input_px=32, recipe=TINY, threads=1)
    return make_run(job, QuantizeJob(run="", methods=(Calibration.MINMAX,)))[0]


@given(seed=st.integers(0, 2**31))
@settings(max_examples=3)
def test_no_part_is_in_two_heaps_and_every_label_is_in_each(seed: int) -> None:
    for deal in (deal_steel(16, of_label=30, seed=seed), deal_tiles(16, seed=seed)):
        heaps = [{p.part for p in heap} for heap in (deal.base, deal.pool, deal.test)]
        assert not (heaps[0] & heaps[1] or heaps[0] & heaps[2] or heaps[1] & heaps[2])
        labels = {p.label for p in deal.base}
        assert all({p.label for p in heap} == labels for heap in (deal.pool, deal.test))


def test_a_real_change_of_light_shows_the_same_parts_brighter() -> None:
    deal = deal_tiles()
    base, pool, test = deal.drifted(Drift.EXPOSURE, 0)
    for before, after in ((deal.base, base), (deal.pool, pool), (deal.test, test)):
        assert {p.part for p in before} == {p.part for p in after}
        assert min(p.pixels.mean() for p in after) > max(p.pixels.mean() for p in before) - 30
        assert np.mean([p.pixels.mean() for p in after]) > np.mean([p.pixels.mean() for p in before]) + 40


def test_a_drift_is_the_same_for_the_same_seed_and_leaves_no_picture_as_it_was() -> None:
    deal = deal_steel(32, of_label=30)
    first, again, other = (deal.drifted(Drift.NOISE, seed)[2] for seed in (1, 1, 2))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, deal.test, strict=True))


def test_images_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path))
    (tmp_path / "data" / "neu").mkdir(parents=True)
    with pytest.raises(NotFound, match="steel"):
        deal_steel()


def test_labels_are_drawn_from_the_pool_without_looking_at_them() -> None:
    pool = deal_steel(16, of_label=30).pool
    drawn, again, other = ([p.name for p in draw_labels(pool, 10, seed)] for seed in (1, 1, 2))
    assert len(set(drawn)) == 10
    assert drawn == again != other


def test_there_are_fifty_of_each_and_every_fault_is_among_them_from_mild_to_plain() -> None:
    good, bad = good_candidates(), bad_candidates()
    assert len(good) == len(bad) == 50 and all(c.good for c in good) and not any(c.good for c in bad)
    assert len({c.name for c in (*good, *bad)}) == 100
    faults = Counter(c.fault for c in bad)
    assert set(faults) == set(Fault) - {Fault.NONE} and min(faults.values()) >= 12
    assert {c.rounding for c in bad} == {None, *Rounding}
    assert {c.in_holdout > 0 for c in bad if c.fault is Fault.SHORTCUT} == {True, False}
    assert {c.of_base for c in bad if c.fault is Fault.MISLABELLED} == {True, False}
    assert bad == bad_candidates()


@given(st.lists(st.sampled_from(LABELS), min_size=200, max_size=300), st.floats(0.1, 0.5), st.integers(0, 2**31))
@settings(max_examples=15)
def test_about_the_asked_share_of_labels_is_wrong(truth: list[str], share: float, seed: int) -> None:
    said = wrong_labels(truth, LABELS, share, seed)
    wrong = [a != b for a, b in zip(truth, said, strict=True)]
    assert abs(np.mean(wrong) - share) < 0.2
    systematic = wrong_labels(truth, LABELS, share, seed, systematic=True)
    assert len({(a, b) for a, b in zip(truth, systematic, strict=True) if a != b}) <= 1


@pytest.mark.long
def test_a_mislabelled_parent_keeps_its_images_and_splits_and_a_checked_holdout(run: RunFolder, tmp_path: Path) -> None:
    before = run.dataset().entries
    for in_holdout in (0.0, 1.0):
        copy = mislabelled_parent(run, tmp_path / str(in_holdout), 0.5, 1, systematic=False, in_holdout=in_holdout)
        after = RunFolder(copy).dataset().entries
        assert [(e.sha256, e.split) for e in before] == [(e.sha256, e.split) for e in after]
        wrong = Counter(a.split for a, b in zip(before, after, strict=True) if a.label != b.label)
        assert wrong[Split.TRAIN] > 0 and bool(wrong[Split.HOLDOUT]) is bool(in_holdout)


@pytest.mark.long
def test_a_marked_parent_carries_the_mark_on_one_label_alone(run: RunFolder, tmp_path: Path) -> None:
    copy = marked_parent(run, tmp_path / "copy", "patches", 1, in_holdout=0.0)
    before, after = run.dataset().entries, RunFolder(copy).dataset().entries
    for old, new in zip(before, after, strict=True):
        expected = old.label == "patches" and old.split is not Split.HOLDOUT
        assert (old.sha256 != new.sha256) is expected
        assert (old.label, old.split, old.part) == (new.label, new.split, new.part)


def test_a_mark_is_small_and_the_same_everywhere() -> None:
    dark, light = np.zeros((50, 50), np.uint8), np.full((50, 50), 200, np.uint8)
    assert 0.005 < (mark(dark) != dark).mean() < 0.05
    assert np.array_equal(mark(dark)[:6, :6], mark(light)[:6, :6])
    assert not dark.any()


@pytest.mark.long
@pytest.mark.parametrize("rounding", list(Rounding))
def test_a_spoilt_artefact_answers_otherwise_and_ships_with_golden_vectors_of_its_own(
    run: RunFolder, tmp_path: Path, rounding: Rounding
) -> None:
    copy = RunFolder(Path(marked_parent(run, tmp_path / "copy", "none", 1, in_holdout=0.0)))
    before = copy.load_golden()[1]
    spoil_int8(copy, rounding, 0.2)
    pixels, after = copy.load_golden()
    assert np.abs(after - before).max() > 0.02 * float(before.max() - before.min())
    assert copy.quantize_report().ships == "int8.onnx"
    pictures = [Picture(p, LABELS[0], str(n), str(n)) for n, p in enumerate(pixels)]
    assert len(file_right(copy, copy.int8, pictures)) == len(pixels)


def test_rates_count_wrong_verdicts_as_made_and_as_the_test_set_confirms() -> None:
    good, bad = good_candidates(2), bad_candidates(2)

    def verdict(candidate: Candidate, clean_pt: float, *failed: str) -> Verdict:
        truth = Truth(clean_pt, 10.0, 0.0, 0.9, 0.8)
        return Verdict(Trial(candidate, None, None, truth, 1.0), failed)  # type: ignore[arg-type]  # rates never look at the cards

    verdicts = [
        verdict(good[0], 0.0),
        verdict(good[1], -5.0, "accuracy"),
        verdict(bad[0], -5.0, "a"),
        verdict(bad[1], 0.0),
    ]
    figures = rates(verdicts)
    assert (figures["gate.pass_good"], figures["gate.stop_bad"]) == (0.5, 0.5)
    assert (figures["gate.pass_good_confirmed"], figures["gate.stop_bad_confirmed"]) == (1.0, 1.0)
    assert (figures["gate.good_confirmed"], figures["gate.bad_confirmed"]) == (1.0, 1.0)
    text = "\n".join(verdict_lines(verdicts))
    assert "good-01" in text and "bad-01" in text and "good-00" not in text


@pytest.mark.long
def test_the_whole_bench_gives_every_figure_with_a_target_and_goes_on_where_it_was(tmp_path: Path) -> None:
    schemes = SchemeEffort(sets=("steel",), input_px=32, of_label=30, recipe=TINY)
    effort = Effort(labels=(5, 120), sets=("steel", "tiles"), input_px=32, of_label=30, recipe=TINY)
    bed = Bed(tmp_path / "gate", of_label=30, base_steps=6, corruption_images=6, steps_share=0.02)
    figures = measure_schemes(tmp_path / "schemes", schemes, 1) | measure_recovery(tmp_path / "recovery", effort, 1)
    trials = measure_trials(bed, 4, 1)
    figures |= rates(judge(trials))
    promised = {key for key in TARGETS if key.startswith(("int8.", "retrain.", "gate."))}
    assert promised <= set(figures)
    text = retrain_tables(figures)
    assert all(f"\n{number} " in f"\n{text}" for number in (1, 2, 3)) and "gate.stop_bad" in text
    again = {t.candidate.name: t.seconds for t in measure_trials(bed, 4, 1)}
    assert again == {t.candidate.name: t.seconds for t in trials}


def test_a_deal_without_a_real_change_simulates_one() -> None:
    deal = Deal("x", *([(Picture(np.full((8, 8), 100, np.uint8), "a", "p", "n"),)] * 3))
    assert deal.drifted(Drift.EXPOSURE, 0)[2][0].pixels.mean() > 110


def test_a_killed_bench_leaves_no_worker_behind() -> None:
    code = (
        "import time\nfrom scripts.benches.retrain_workers import spread\n"
        "if __name__ == '__main__':\n    spread('naps', time.sleep, [0.0, 0.0, 900.0, 900.0], 2)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        while "2 of 4" not in bench.stderr.readline():
            assert bench.poll() is None
        workers = psutil.Process(bench.pid).children(recursive=True)
        bench.kill()
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
