from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from agent.commands.selftest import selftest
from cloud.clock import SystemClock
from cloud.gate.corruptions import mean_blur
from cloud.gate.look_checks import refutes
from cloud.gate.scorecard import GateReport, Promise
from cloud.quantize import sweep as sweep_module
from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.contender import load_contender
from cloud.quantize.debug_report import read_debug
from cloud.quantize.gate_run import GateJob, gate_run
from cloud.quantize.golden import choose_golden, golden_tolerance
from cloud.quantize.int8 import Prepared, quantize, quantize_int8
from cloud.quantize.judge import Judge
from cloud.quantize.measure import accuracy_under
from cloud.quantize.quantize_run import QuantizeJob, parse_methods, quantize_run
from cloud.quantize.ranges import Calibration, measure_ranges
from cloud.quantize.scheme import Scheme
from cloud.quantize.shortcut_trial import try_shortcuts
from cloud.quantize.tflite_export import TfliteReport
from cloud.quantize.tflite_runner import TfliteRunner
from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import BundleContent, open_bundle, read_file, unpack_bundle
from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.held_out_records import HeldOutRecords
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from cloud.registry.resources import measure as measure_memory
from cloud.retrain.checkpoint import load_weights
from cloud.retrain.dataset import Sample, reload_dataset
from cloud.retrain.models.build import build_model
from cloud.retrain.progress import Progress
from cloud.retrain.release_run import RunReleaser
from cloud.retrain.reviewed import LABELS_FILE
from cloud.retrain.run_artefacts import artefacts_of
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import ArtefactFigures, DatasetEntry, QuantizeReport, Split
from cloud.retrain.train import train
from contract.decode import Prediction
from contract.errors import BadDataset, BadModel, InvalidConfig, NotFound, RefusedError
from contract.manifest import (
    Artefact,
    FileEntry,
    Golden,
    Label,
    LabelKind,
    Manifest,
    OutputKind,
    RuntimeKind,
    Thresholds,
    encode_manifest,
)
from contract.preprocess import preprocess
from tests.cloud.quantize.even_clock import EvenClock
from tests.cloud.quantize.reviewed_folder import write_reviewed_folder
from tests.cloud.retrain.pictures import LABELS, picture, quick_job, write_folders
from tests.tiny_tflite import tflite_bytes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("quantized")
    train(quick_job(write_folders(folder / "data", 36), folder / "run"), SystemClock())
    quantize_run(QuantizeJob(str(folder / "run"), images=24, threads=1, alpha=0.3), EvenClock())
    return RunFolder(folder / "run")


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(trained.root, tmp_path / "run"))


def _entry(label: str) -> DatasetEntry:
    return DatasetEntry("x.png", 0, "0" * 64, label, "folder", "base", Split.HOLDOUT, label)


def _report(run: RunFolder) -> QuantizeReport:
    return run.quantize_report()


def test_int8_is_small_close_to_fp32_and_ships(trained: RunFolder) -> None:
    report = _report(trained)
    fp32, int8 = report.artefacts
    assert report.ships == "int8.onnx" and (fp32.precision, int8.precision) == ("fp32", "int8")
    assert fp32.accuracy is not None and int8.accuracy is not None and abs(fp32.accuracy - int8.accuracy) <= 0.03
    assert int8.agreement_with_fp32 >= 0.95 and int8.size_bytes < 0.4 * fp32.size_bytes
    assert int8.median_ms > 0 and {s.method for s in report.sweep} == {"minmax", "entropy", "percentile"}
    assert sorted(p.name for p in trained.root.iterdir() if "tmp" in p.name) == []


def test_int8_model_is_u8s8_per_channel_with_room_in_16_bits(trained: RunFolder) -> None:
    graph = onnx.load(str(trained.int8)).graph
    weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer if i.name.endswith("weight_quantized")}
    assert weights and all(w.dtype == np.int8 and np.abs(w.astype(int)).max() <= 64 for w in weights.values())
    scales = [numpy_helper.to_array(i).size for i in graph.initializer if i.name.endswith("weight_scale")]
    assert max(scales) == 128
    zero_points = [numpy_helper.to_array(i) for i in graph.initializer if i.name.endswith("zero_point")]
    assert any(z.dtype == np.uint8 for z in zero_points)


def test_golden_scores_are_those_of_the_artefact_that_ships(trained: RunFolder) -> None:
    pixels, scores = trained.load_golden()
    assert pixels.dtype == np.uint8 and pixels.shape[0] == scores.shape[0] == 8 and scores.shape[1] == len(LABELS)
    again = ArtefactRunner(trained.int8, trained.info().preprocess, threads=1).scores(list(pixels))
    assert np.abs(again - scores).max() <= 1e-4 < _report(trained).golden_max_abs_error


def test_golden_images_are_small_and_every_label_is_among_their_answers(trained: RunFolder) -> None:
    pixels, scores = trained.load_golden()
    spec = trained.info().preprocess
    assert pixels.shape[1] <= 1.25 * spec.height + 1 and pixels.shape[2] <= 1.25 * spec.width + 1
    assert len(np.unique(pixels)) <= 16 and len({image.tobytes() for image in pixels}) == len(pixels)
    assert set(scores.argmax(1)) == set(range(len(LABELS)))
    assert trained.golden.stat().st_size < 0.6 * pixels.size


def test_golden_vectors_tell_a_model_of_which_one_layer_is_a_tenth_off(trained: RunFolder, tmp_path: Path) -> None:
    pixels, scores = trained.load_golden()
    tolerance, spec = _report(trained).golden_max_abs_error, trained.info().preprocess
    assert np.abs(scores - scores.mean(0)).max() > tolerance, "an answer that hangs on no input is told"
    model = onnx.load(str(trained.int8))
    for number, tensor in enumerate(model.graph.initializer):
        if tensor.name.endswith("weight_scale"):
            wrong = onnx.ModelProto()
            wrong.CopyFrom(model)
            scales = numpy_helper.to_array(tensor) * np.float32(1.1)
            wrong.graph.initializer[number].CopyFrom(numpy_helper.from_array(scales, tensor.name))
            onnx.save(wrong, str(tmp_path / "wrong.onnx"))
            off = np.abs(ArtefactRunner(tmp_path / "wrong.onnx", spec, threads=1).scores(list(pixels)) - scores).max()
            assert off > tolerance, f"{tensor.name} is a tenth off"


@pytest.mark.parametrize(("apart", "share"), [(None, 0.01), (0.0, 0.02), (0.01, 0.02), (0.02, 0.04), (0.4, 0.05)])
def test_golden_tolerance_is_twice_what_quantization_moves_within_bounds(apart: float | None, share: float) -> None:
    scores = np.array([[0.0, 10.0]], np.float32)
    reference = None if apart is None else scores + np.float32(apart * 10)
    assert golden_tolerance(scores, reference) == pytest.approx(share * 10, abs=1e-3)
    assert golden_tolerance(np.zeros((2, 3), np.float32), None) == 1e-3


@pytest.fixture(scope="module")
def child(trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run trained from `trained` on the same pictures, quantized."""
    folder = tmp_path_factory.mktemp("child") / "run"
    train(
        msgspec.structs.replace(quick_job(folder, folder), data=None, parent=str(trained.root), seed=1), SystemClock()
    )
    quantize_run(QuantizeJob(str(folder), images=24, threads=1, alpha=0.3), EvenClock())
    return RunFolder(folder)


def _codes(model: Path) -> np.ndarray:
    graph = onnx.load(str(model)).graph
    weights = [numpy_helper.to_array(i) for i in graph.initializer if i.name.endswith("weight_quantized")]
    return np.concatenate([w.ravel() for w in weights]).astype(int)


def test_quantized_child_keeps_its_parents_codes_and_golden_pixels(
    trained: RunFolder, child: RunFolder, tmp_path: Path
) -> None:
    parent, beside = _codes(trained.int8), _codes(child.int8)
    assert np.abs(beside).max() <= 64
    dataset = [preprocess(picture(label, 800), child.info().preprocess) for label in LABELS]
    quantize_int8(child.fp32, tmp_path / "alone.onnx", dataset, Calibration.MINMAX)
    assert (beside == parent).mean() > 0.05 + (_codes(tmp_path / "alone.onnx") == parent).mean()
    fp32, int8 = child.quantize_report().artefacts
    assert fp32.accuracy is not None and int8.accuracy is not None and abs(fp32.accuracy - int8.accuracy) <= 0.03

    pixels, scores = child.load_golden()
    before, old = trained.load_golden()
    assert np.array_equal(pixels, before) and not np.array_equal(scores, old)
    again = ArtefactRunner(child.int8, child.info().preprocess, threads=1).scores(list(pixels))
    assert np.abs(again - scores).max() <= 1e-4


def test_a_parents_golden_image_makes_room_only_for_a_label_that_is_no_longer_told(
    trained: RunFolder, child: RunFolder
) -> None:
    runner = ArtefactRunner(child.int8, child.info().preprocess, threads=1)
    pixels, scores = trained.load_golden()
    lost = scores.argmax(1) == 1
    assert 0 < lost.sum() < len(pixels)
    pixels[lost] = pixels[scores.argmax(1) == 0][0]  # whatever answered "scratch" does so no more
    samples = [Sample(picture(label, 700 + n), _entry(label)) for label in LABELS for n in range(4)]
    chosen, answers = choose_golden(runner, samples, LABELS, seed=0, parent=(pixels, scores))
    changed = (chosen != pixels).any(axis=(1, 2))
    assert changed.sum() == 1 and lost[changed].all() and set(answers.argmax(1)) == set(range(len(LABELS)))
    assert np.abs(runner.scores(list(chosen)) - answers).max() <= 1e-4


def test_run_whose_parent_is_gone_is_quantized_by_itself_and_a_damaged_parent_is_named(
    child: RunFolder, trained: RunFolder, tmp_path: Path
) -> None:
    run, parent = RunFolder(shutil.copytree(child.root, tmp_path / "run")), tmp_path / "parent"
    run.save_info(msgspec.structs.replace(run.info(), parent=str(parent)))
    job = QuantizeJob(str(run.root), methods=(Calibration.MINMAX,), images=24, threads=1, alpha=0.3)
    quantize_run(job, EvenClock())
    parent.mkdir()
    (parent / "int8.onnx").write_bytes(trained.int8.read_bytes()[:5000])
    with pytest.raises(BadModel, match=r"the parent's .*int8\.onnx cannot be read"):
        quantize_run(job, EvenClock())


def test_golden_images_of_several_sizes_and_many_labels_are_one_array(trained: RunFolder) -> None:
    spec = trained.info().preprocess
    runner = ArtefactRunner(trained.int8, spec, threads=1)
    samples = [
        Sample(np.full((20 + n, 30 + n, 3) if n % 2 else (25, 25), 8 * n, np.uint8), _entry(f"label {n % 20:02d}"))
        for n in range(30)
    ]
    pixels, scores = choose_golden(runner, samples, [f"label {n:02d}" for n in range(20)], seed=0)
    assert pixels.ndim == 3 and len(pixels) == len(scores) == 20


def test_thresholds_come_from_calibration_images(trained: RunFolder) -> None:
    thresholds = _report(trained).thresholds
    assert thresholds.method.startswith("Learn-then-Test on 21 images") and 0.5 <= thresholds.pass_at < 1


def _set_aside(run: RunFolder, *said: tuple[str, str]) -> None:
    """Make holdout images reviewed ones that were set aside; `said` is (true label, what people say of it) of each."""
    entries, left = list(run.dataset().entries), list(said)
    for place, entry in enumerate(entries):
        wanted = next((each for each in left if entry.split is Split.HOLDOUT and each[0] == entry.label), None)
        if wanted is not None:
            left.remove(wanted)
            entries[place] = msgspec.structs.replace(
                entry, split=Split.DRIFT, label=wanted[1], source="reviewed:s1", part=f"since/{place}"
            )
    assert not left
    run.save_dataset(msgspec.structs.replace(run.dataset(), entries=tuple(entries)))
    digest = hashlib.sha256(msgspec.json.encode(tuple(entries))).hexdigest()
    run.save_info(msgspec.structs.replace(run.info(), dataset_sha256=digest))


def test_parts_labelled_since_that_are_missed_make_the_threshold_stricter_and_the_gate_counts_them(
    run: RunFolder, trained: RunFolder, tmp_path: Path
) -> None:
    before = _report(trained)
    assert not any(each.is_tightened() for each in before.artefacts) and before.promise == Promise(0.3, 0.1)
    # Good surfaces of which people say that they are scratched: the model, which is right, misses these "defects".
    _set_aside(run, *[("good", "scratch")] * 4, ("good", "good"), *[("scratch", "scratch")] * 2)
    job = QuantizeJob(str(run.root), methods=(Calibration.MINMAX,), images=24, threads=1, alpha=0.3)
    after = quantize_run(job, EvenClock())
    int8 = after.artefacts[1]
    assert int8.calibrated_at == pytest.approx(before.thresholds.pass_at, abs=0.1) and int8.is_tightened()
    assert after.thresholds.pass_at > 0.5 and "4 of 5 parts that pass are defects" in after.thresholds.method
    incumbent = GateJob(str(run.root), str(trained.root), corruption_images=1, threads=1)
    report = gate_run(incumbent, EvenClock())
    (look,) = report.card.looks
    assert (look.parts, look.defects, look.tightened) == (7, 6, True) and not refutes(
        look.missed, look.passed, after.promise
    )
    assert report.card.promise == after.promise and report.incumbent_card is not None
    assert report.incumbent_card.looks[0].missed == 4, "what the model in charge would have let pass"
    checks = {check.name: check for check in report.checks}
    assert checks["new look"].passed and checks["missed defects"].figures["wanted"] == 0.3
    assert "new look" in run.report.read_text("utf-8")

    # Parts labelled later are judged by themselves, since those before moved the threshold.
    since = write_reviewed_folder(tmp_path / "since", [("good", f"later{number}") for number in range(7)])
    with_more = msgspec.structs.replace(incumbent, incumbent=None, labelled=str(since))
    seen: list[Progress] = []
    judged_by = sha256_of(since / LABELS_FILE)

    def label_more(progress: Progress) -> None:
        seen.append(progress)
        with (since / LABELS_FILE).open("a") as file:  # somebody goes on labelling meanwhile
            file.write("\n")

    counted = gate_run(with_more, EvenClock(), label_more)
    assert counted.labelled == judged_by
    assert any("7 parts of" in each.text and "are new to the run" in each.text for each in seen)
    of_card = [(look.parts, look.defects, look.tightened, look.further) for look in counted.card.looks]
    assert of_card == [(7, 6, True, False), (7, 0, False, True)]
    further = next(check for check in counted.checks if check.name == "further parts")
    assert further.passed and further.figures["passed"] == counted.card.looks[1].passed > 0

    run.save_quantize_report(msgspec.structs.replace(after, thresholds=before.thresholds))
    lax = {check.name: check for check in gate_run(incumbent, EvenClock()).checks}
    assert not lax["new look"].passed and "refuted: 4 of 5 that pass are defects" in lax["new look"].sentence


def test_a_retrain_promises_what_its_parent_does_unless_it_is_told_otherwise(child: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(child.root, tmp_path / "run"))
    quick = QuantizeJob(str(run.root), methods=(Calibration.MINMAX,), images=24, threads=1)
    assert quantize_run(quick, EvenClock()).promise == Promise(0.3, 0.1)
    assert quantize_run(msgspec.structs.replace(quick, delta=0.2), EvenClock()).promise == Promise(0.3, 0.2)
    run.save_info(msgspec.structs.replace(run.info(), parent=str(tmp_path / "gone")))
    assert quantize_run(quick, EvenClock()).promise == Promise(0.02, 0.1)


def test_without_a_calibration_split_nothing_passes_by_itself(run: RunFolder) -> None:
    manifest = run.dataset()
    run.save_dataset(
        msgspec.structs.replace(
            manifest, entries=tuple(e for e in manifest.entries if e.split is not Split.CALIBRATION)
        )
    )
    report = quantize_run(QuantizeJob(str(run.root), (Calibration.MINMAX,), 24, threads=1, alpha=0.3), EvenClock())
    assert report.thresholds.pass_at == 1.0 and "no calibration images" in report.thresholds.method
    assert any("no calibration split" in warning for warning in report.warnings)


def test_calibration_that_gives_up_is_noted_and_the_others_go_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many_bins(model: onnx.ModelProto, tensors: list[Any], method: Calibration, scheme: Scheme) -> Any:
        if method is not Calibration.MINMAX:
            raise BadModel(f"{method.value} calibration failed: Too many bins for data range")
        return measure_ranges(model, tensors, method, scheme)

    monkeypatch.setattr(sweep_module, "measure_ranges", too_many_bins)
    report = quantize_run(QuantizeJob(str(run.root), images=12, threads=1), EvenClock())
    assert report.artefacts[1].method == "minmax"
    assert sum("Too many bins" in s.failure for s in report.sweep) == 2


def test_near_constant_input_fails_calibration_as_a_named_error_or_quantizes(run: RunFolder, tmp_path: Path) -> None:
    # ONNX Runtime's Percentile and Entropy choke on tensors that hardly vary; whatever they raise is a BadModel here.
    spec = run.info().preprocess
    tensors = [preprocess(np.eye(40, dtype=np.uint8) + 110, spec)] * 3
    for method in Calibration:
        try:
            quantize_int8(run.fp32, tmp_path / "int8.onnx", tensors, method)
        except BadModel as error:
            assert method.value in error.message


def test_int8_that_loses_accuracy_does_not_ship(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def ruin(prepared: Prepared, ranges: Any, exclude: tuple[str, ...] = ()) -> onnx.ModelProto:
        model = quantize(prepared, ranges, exclude)
        _swap_labels_of(model)
        return model

    monkeypatch.setattr(sweep_module, "quantize", ruin)
    job = QuantizeJob(str(run.root), (Calibration.MINMAX,), images=12, threads=1, search_s=0, qat_steps=0)
    report = quantize_run(job, EvenClock())
    assert report.ships == "fp32.onnx" and not report.artefacts[1].passes and report.also == ()
    pixels, scores = run.load_golden()
    fp32 = ArtefactRunner(run.fp32, run.info().preprocess, threads=1)
    assert np.abs(fp32.scores(list(pixels)) - scores).max() <= 1e-4


def _swap_first_two_labels(file: Path) -> None:
    """Make a model that decides wrongly by exchanging two rows of its head."""
    model = onnx.load(str(file))
    _swap_labels_of(model)
    onnx.save(model, str(file))


def _swap_labels_of(model: onnx.ModelProto) -> None:
    for initializer in model.graph.initializer:
        if initializer.name.startswith("head."):
            values = numpy_helper.to_array(initializer).copy()
            if values.ndim and values.shape[0] == len(LABELS):
                values[[0, 1]] = values[[1, 0]]
                initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))


def _gate(run: RunFolder, incumbent: Path | None) -> GateReport:
    job = GateJob(str(run.root), str(incumbent) if incumbent else None, corruption_images=9, threads=1)
    # The tiny holdout of this test cannot show a difference of 3 points.
    rules = msgspec.structs.replace(job.rules, margin=0.2, latency_slack_ms=50.0, min_recall_bound=0.3)
    return gate_run(msgspec.structs.replace(job, rules=rules), SystemClock())


def test_good_run_passes_alone_and_against_itself(run: RunFolder, trained: RunFolder) -> None:
    alone = _gate(run, None)
    assert alone.passed, alone.failures()
    report = _gate(run, trained.root)
    assert report.passed, report.failures()
    assert run.gate_report() == report and report.card.passed > 0
    assert len(report.card.corruptions) == 60 and {each.images for each in report.card.corruptions} == {9}
    assert report.card.shortcut is not None and report.card.shortcut.incumbent_followed is not None
    page = run.report.read_text("utf-8")
    assert "Passed." in page and "against the incumbent" in page and len(page) < 300_000
    assert sorted(p.name for p in run.root.iterdir() if "tmp" in p.name) == []


def test_a_gated_run_is_released_with_the_answers_to_its_holdout(run: RunFolder, tmp_path: Path) -> None:
    assert run.held_out() is None, "it was never gated"
    report = _gate(run, None)
    record = run.held_out()
    assert record is not None and record.artefact == sha256_of(run.int8) and record.labels == LABELS
    assert (record.images, record.accuracy) == (report.card.base.images, pytest.approx(report.card.base.accuracy))
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    measured: list[float] = []

    def measure(content: BundleContent) -> float:
        measured.append(measure_memory(content) + len(measured))
        return measured[-1]

    releaser = RunReleaser(registry, keys, tmp_path / "runs", lambda: 1_795_200_000.0, measure)
    released = releaser.release(run.root, "v1")
    assert releaser.release(run.root, "v1").digest == released.digest and len(measured) == 1
    manifest, _ = open_bundle(registry.blobs.path(released.digest))
    assert manifest.resources.memory_mib == measured[0] and manifest.tensors
    assert (manifest.gate_report, manifest.model_card) == ("gate.json", "model_card.md")
    card = read_file(registry.blobs.path(released.digest), "model_card.md").decode()
    assert f"{report.card.base.correct} of {report.card.base.images}" in card and "never gated" not in card
    assert "head single" in card and "Head." not in card
    assert HeldOutRecords(registry).of(released.digest).record == record
    assert sha256_of(run.report) in card and registry.blobs.path(sha256_of(run.report)).is_file()
    assert RunFolder(releaser.run_of("v1")).held_out() == record
    # Another model file, and nobody gated it: no station would take it, and the record is not of what ships.
    _swap_first_two_labels(run.int8)
    with pytest.raises(RefusedError, match=r"changed since: int8\.onnx"):
        releaser.release(run.root, "v2")
    with pytest.raises(BadModel, match="off its golden scores"):
        releaser.release(run.root, "v2", "trust me")
    pixels, _ = run.load_golden()
    run.save_golden(pixels, ArtefactRunner(run.int8, run.info().preprocess).scores(list(pixels)))
    other = releaser.release(run.root, "v2", "trust me")
    assert HeldOutRecords(registry).of(other.digest).record is None
    manifest, _ = open_bundle(registry.blobs.path(other.digest))
    assert (manifest.gate_report, manifest.lineage.gate) == ("", ""), "the report is of another file"
    assert "never gated" in read_file(registry.blobs.path(other.digest), "model_card.md").decode()
    run.validation.write_bytes(b"{")
    with pytest.raises(BadDataset, match="no held-out record"):
        releaser.release(run.root, "v3", "trust me")


def test_a_gates_report_of_other_files_or_of_none_known_releases_nothing(run: RunFolder, tmp_path: Path) -> None:
    report = _gate(run, None)
    releaser = RunReleaser(
        Registry(tmp_path / "registry"), init_keys(tmp_path / "keys"), tmp_path / "runs", lambda: 1_795_200_000.0
    )
    quantized, dataset = _report(run), run.dataset()
    loose = msgspec.structs.replace(quantized, thresholds=msgspec.structs.replace(quantized.thresholds, pass_at=0.0))
    run.save_quantize_report(loose)
    with pytest.raises(RefusedError, match=r"changed since: quantize\.json"):
        releaser.release(run.root, "v1")
    assert load_contender(run.root).thresholds.pass_at == 0.0, "what is judged is what a bundle would say"
    run.save_quantize_report(quantized)
    run.save_dataset(msgspec.structs.replace(dataset, entries=dataset.entries[1:]))
    with pytest.raises(RefusedError, match=r"changed since: dataset\.json"):
        releaser.release(run.root, "v1")
    with pytest.raises(BadDataset, match="not the one the run was trained on"):
        _gate(run, None)
    run.save_dataset(dataset)
    run.save_gate_report(msgspec.structs.replace(report, judged={}))
    with pytest.raises(RefusedError, match="did not note which files") as caught:
        releaser.release(run.root, "v1")
    assert "plumbline-cloud gate" in caught.value.hint


def test_artefact_that_decides_wrongly_fails(run: RunFolder, trained: RunFolder) -> None:
    _swap_first_two_labels(run.int8)
    failed = {check.name for check in _gate(run, trained.root).failures()}
    assert {"accuracy", "int8 against fp32", "not worse on the base holdout", "golden vectors"} <= failed


def test_unpacked_bundle_is_an_incumbent_even_with_other_label_order(run: RunFolder, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    info, report = run.info(), _report(run)
    shutil.copy(run.int8, bundle / "int8.onnx")
    shutil.copy(run.golden, bundle / "golden.npz")
    # The same model with two labels exchanged in head and list: the same answers in another order.
    _swap_first_two_labels(bundle / "int8.onnx")
    pixels, scores = run.load_golden()
    np.savez(bundle / "golden.npz", pixels=pixels, scores=scores[:, [1, 0, 2]])
    labels = (info.labels[1], info.labels[0], info.labels[2])
    files = tuple(FileEntry(name, "0" * 64, 1) for name in ("int8.onnx", "golden.npz"))
    artefact = Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS)
    golden = Golden("golden.npz", report.golden_max_abs_error)
    manifest = Manifest("m", "v1", 0.0, labels, info.preprocess, (artefact,), report.thresholds, files, golden)
    (bundle / "manifest.json").write_bytes(encode_manifest(manifest))
    gated = _gate(run, bundle)
    assert gated.passed, gated.failures()
    assert gated.incumbent_card is not None and gated.incumbent_card.base == gated.card.base


def test_an_incumbent_of_other_labels_is_refused_and_one_without_a_label_is_no_evidence_about_it(
    run: RunFolder, tmp_path: Path
) -> None:
    candidate = load_contender(run.root)

    def named(*names: str) -> Judge:
        labels = tuple(Label(name, LabelKind.DEFECT) for name in names)
        return Judge.load(replace(candidate, labels=labels), 1)

    holdout = reload_dataset(run.dataset(), run.info().labels).of_split(Split.HOLDOUT) * 4
    right = np.ones(len(holdout), np.bool_)
    before = try_shortcuts(Judge.load(candidate, 1), named(*LABELS), holdout, right, 0)
    since = try_shortcuts(Judge.load(candidate, 1), named("old", "older", "oldest"), holdout, right, 0)
    assert before is not None and before.incumbent_followed is not None
    assert since is not None and since.incumbent_followed is None
    info, other = run.info(), RunFolder(shutil.copytree(run.root, tmp_path / "other"))
    strange = tuple(Label(f"{label.name} of another line", label.kind) for label in info.labels)
    other.save_info(msgspec.structs.replace(info, labels=strange))
    with pytest.raises(BadModel, match="knows none of the candidate's labels"):
        _gate(run, other.root)


def test_gate_wants_a_quantized_run_a_holdout_and_unchanged_images(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"run\.json"):
        _gate(run, tmp_path / "nowhere")
    manifest = run.dataset()
    run.save_dataset(
        msgspec.structs.replace(manifest, entries=tuple(e for e in manifest.entries if e.split is not Split.HOLDOUT))
    )
    with pytest.raises(BadDataset, match="no images back to judge on"):
        _gate(run, None)
    (run.root / "quantize.json").unlink()
    with pytest.raises(NotFound, match=r"quantize\.json is not there") as caught:
        _gate(run, None)
    assert "plumbline-cloud quantize" in caught.value.hint


def test_runner_names_missing_and_broken_models(run: RunFolder, tmp_path: Path) -> None:
    spec = run.info().preprocess
    with pytest.raises(BadModel, match="is not there"):
        ArtefactRunner(tmp_path / "none.onnx", spec)
    (tmp_path / "torn.onnx").write_bytes(run.int8.read_bytes()[:500])
    with pytest.raises(BadModel, match="does not load"):
        ArtefactRunner(tmp_path / "torn.onnx", spec)
    other = ArtefactRunner(
        run.int8, msgspec.structs.replace(spec, height=24, width=24, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    )
    with pytest.raises(BadModel, match="refused its input"):
        other.scores([picture("good", 1)])


def test_accuracy_under_a_transform(trained: RunFolder) -> None:
    runner = ArtefactRunner(trained.int8, trained.info().preprocess, threads=1)
    images = [picture(label, 700 + n) for n in range(5) for label in LABELS]
    truth = [0, 1, 2] * 5
    assert accuracy_under(runner, images, truth) >= 0.8
    assert accuracy_under(runner, images, truth, lambda image: np.zeros_like(image)) <= 0.34
    assert 0 <= accuracy_under(runner, images, truth, lambda image: mean_blur(image, 3)) <= 1


def test_unknown_calibration_is_refused() -> None:
    assert parse_methods("minmax, percentile") == (Calibration.MINMAX, Calibration.PERCENTILE)
    with pytest.raises(InvalidConfig, match="magic"):
        parse_methods("magic")


@pytest.fixture(scope="module")
def every(trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run quantized in every way there is."""
    run = RunFolder(shutil.copytree(trained.root, tmp_path_factory.mktemp("every") / "run"))
    job = QuantizeJob(
        str(run.root), (Calibration.MINMAX,), 24, threads=1, alpha=0.3, schemes=tuple(Scheme), fp16=True, debug=True
    )
    quantize_run(job, EvenClock())
    return run


def test_every_artefact_has_its_own_thresholds_and_figures(every: RunFolder) -> None:
    report = every.quantize_report()
    assert [each.file for each in report.artefacts] == ["fp32.onnx", "int8.onnx", "int8.s8s8.onnx", "fp16.onnx"]
    for each in report.artefacts:
        assert each.thresholds is not None and each.passes and each.agreement_with_fp32 >= 0.95
        assert each.size_bytes == (every.root / each.file).stat().st_size and each.unhindered_ms > 0
    assert {each.scheme for each in report.sweep} == {"u8s8", "s8s8"}
    assert report.ships not in report.also and len(report.also) == 3
    assert any("too few to fit a temperature" in warning for warning in report.warnings)
    debug = read_debug(every)
    assert debug.artefact == "int8.onnx" and debug.tensors[0].sqnr_db <= debug.tensors[-1].sqnr_db
    # Asked for less, the next call leaves nothing behind that is not in its report.
    less = RunFolder(shutil.copytree(every.root, every.root.parent / "less"))
    quantize_run(QuantizeJob(str(less.root), (Calibration.MINMAX,), 24, threads=1), EvenClock())
    assert not (less.root / "int8.s8s8.onnx").exists() and not less.fp16.exists()


def test_the_first_convolution_stays_float_for_cpus_and_no_other(run: RunFolder, tmp_path: Path) -> None:
    tensors = [preprocess(picture(label, seed), run.info().preprocess) for seed, label in enumerate(LABELS * 4)]
    for scheme, is_float in ((Scheme.U8S8, True), (Scheme.S8S8, False)):
        quantize_int8(run.fp32, tmp_path / "q.onnx", tensors, Calibration.MINMAX, scheme=scheme)
        kinds = {tensor.name: tensor.data_type for tensor in onnx.load(str(tmp_path / "q.onnx")).graph.initializer}
        assert ("stages.0.0.weight" in kinds) is is_float, "an int8 convolution over one channel takes half of the time"
        assert all(kinds[f"stages.{n}.0.weight_quantized"] == onnx.TensorProto.INT8 for n in (1, 2, 3))


def test_torch_full_precision_and_int8_answer_golden_inputs_alike(every: RunFolder) -> None:
    info = every.info()
    pixels, _ = every.load_golden()
    model = build_model(info.recipe, info.preprocess.channels, len(info.labels), info.preprocess.height)
    load_weights(model, every.checkpoint)
    tensors = np.concatenate([preprocess(each, info.preprocess) for each in pixels])
    with torch.no_grad():
        trained = model.eval()(torch.from_numpy(tensors)).scores.numpy()
    assert np.abs(ArtefactRunner(every.fp32, info.preprocess).scores(list(pixels)) - trained).max() <= 1e-3
    for file in ("int8.onnx", "int8.s8s8.onnx", "fp16.onnx"):
        scores = ArtefactRunner(every.root / file, info.preprocess).scores(list(pixels))
        assert np.abs(scores - trained).max() <= 0.1 * np.ptp(trained)
        assert np.array_equal(scores.argmax(1), trained.argmax(1))


def test_release_carries_further_artefacts_which_every_station_checks(every: RunFolder, tmp_path: Path) -> None:
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    releaser = RunReleaser(registry, keys, tmp_path / "runs", lambda: 1_795_200_000.0, lambda content: 1.0)
    released = releaser.release(every.root, "v1", "a test", also=("s8s8", "fp32"))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    manifest = unpack_bundle(registry.blobs.path(released.digest), folder)
    assert [(each.precision, each.scheme) for each in manifest.artefacts] == [
        ("int8", "u8s8"),
        ("int8-symmetric", "s8s8"),
        ("fp32", ""),
    ]
    assert [each.thresholds is None for each in manifest.artefacts] == [True, False, False]
    assert all(manifest.guarantees(each) for each in manifest.artefacts)
    answer = selftest(folder)
    assert answer.ok and answer.artefacts == 3 and answer.decisions > 0
    card = (folder / "model_card.md").read_text()
    assert "S8S8 symmetric" in card and "Not shipped: `fp16.onnx`" in card
    with pytest.raises(InvalidConfig, match="no artefact 'u4s4'"):
        releaser.release(every.root, "v2", "a test", also=("u4s4",))
    broken = RunFolder(shutil.copytree(every.root, tmp_path / "broken"))
    _swap_first_two_labels(broken.root / "int8.s8s8.onnx")
    with pytest.raises(BadModel, match=r"int8\.s8s8\.onnx has changed since it was measured"):
        releaser.release(broken.root, "v3", "a test", also=("s8s8",))
    report = every.quantize_report()
    unknown = tuple(msgspec.structs.replace(each, sha256="") for each in report.artefacts)  # as older reports are
    broken.save_quantize_report(msgspec.structs.replace(report, artefacts=unknown))
    with pytest.raises(BadModel, match=r"int8\.s8s8\.onnx names golden input \d otherwise"):
        releaser.release(broken.root, "v3", "a test", also=("s8s8",))
    bad = tuple(msgspec.structs.replace(each, passes=each.scheme != "s8s8") for each in report.artefacts)
    with pytest.raises(InvalidConfig, match="loses too much accuracy"):
        artefacts_of(every.info(), msgspec.structs.replace(report, artefacts=bad), ("s8s8",))


def test_int8_that_falls_short_is_searched_and_trained_before_it_is_given_up(run: RunFolder) -> None:
    said: list[Progress] = []
    # Nobody gains half of all images: whatever is tried is not enough.
    job = QuantizeJob(str(run.root), (Calibration.MINMAX,), 12, max_drop=-0.5, threads=1, search_s=30, qat_steps=4)
    report = quantize_run(job, EvenClock(), said.append)
    assert {"exclude nodes", "train for int8"} <= {each.stage for each in said}
    assert report.ships == "fp32.onnx" and not report.artefacts[1].passes
    assert any("no nodes whose exclusion loses at most -0.5 were found" in each for each in report.warnings), (
        report.warnings
    )
    trained_on = report.artefacts[1].qat_steps == 4
    assert trained_on or any("4 steps of quantization-aware training made it no better" in w for w in report.warnings)


def _with_tflite(run: RunFolder) -> TfliteReport:
    """Give a run a TFLite model of one operator, and the report of an export that made it."""
    info, (pixels, _) = run.info(), run.load_golden()
    file = run.root / "int8.tflite"
    file.write_bytes(tflite_bytes(outputs=len(LABELS), side=info.preprocess.height))
    scores = TfliteRunner(file, info.preprocess).scores(list(pixels))
    np.savez(run.root / "tflite_golden.npz", pixels=pixels, scores=scores)
    figures = ArtefactFigures(file.name, "int8", "onnx2tf", 1.0, None, 1.0, file.stat().st_size, 0.1)
    made = TfliteReport(figures, 1.0, 1.0, Thresholds(0.8, 0.6), 0.01, 1.0, 21, sha256_of(run.fp32), sha256_of(file))
    (run.root / "tflite.json").write_bytes(msgspec.json.encode(made))
    return made


def test_the_tflite_artefact_is_released_in_a_bundle_of_its_own(run: RunFolder, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    releaser = RunReleaser(
        registry, init_keys(tmp_path / "keys"), tmp_path / "runs", lambda: 1_795_200_000.0, lambda content: 1.0
    )
    with pytest.raises(InvalidConfig, match="no TfliteReport"):
        releaser.release(run.root, "v1", "a test", tflite=True)
    made = _with_tflite(run)
    with pytest.raises(InvalidConfig, match="carries no other artefact"):
        releaser.release(run.root, "v1", "a test", also=("fp32",), tflite=True)
    assert _gate(run, None).passed
    released = releaser.release(run.root, "v1", tflite=True)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    manifest = unpack_bundle(registry.blobs.path(released.digest), folder)
    assert [(each.file, each.runtime) for each in manifest.artefacts] == [("int8.tflite", RuntimeKind.TFLITE)]
    assert manifest.preprocess.layout == "NHWC" and manifest.thresholds == made.thresholds
    answer = selftest(folder)
    assert answer.ok and answer.inputs == 8
    assert HeldOutRecords(registry).of(released.digest).record is None, "the record is of the ONNX artefact"
    assert "onnx2tf" in (folder / "model_card.md").read_text()
    image = picture(LABELS[1], 900)
    second = FullPrecisionModels(registry).load(released.digest)
    assert second.batches, "ours are exported with a free batch axis"
    prediction = second.predict(second.tensor(image))[0]
    assert isinstance(prediction, Prediction)
    own = ArtefactRunner(run.fp32, run.info().preprocess).scores([image])[0]
    assert prediction.label.name == LABELS[int(own.argmax())]

    worse = msgspec.structs.replace(made, artefact=msgspec.structs.replace(made.artefact, agreement_with_fp32=0.7))
    (run.root / "tflite.json").write_bytes(msgspec.json.encode(worse))
    with pytest.raises(RefusedError, match="int8 against fp32: agrees with full precision on 15 of 21"):
        releaser.release(run.root, "v2", tflite=True)
    (run.root / "tflite.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(made, made_of="0" * 64)))
    with pytest.raises(InvalidConfig, match=r"what was made of fp32\.onnx as it is now"):
        releaser.release(run.root, "v2", tflite=True)
