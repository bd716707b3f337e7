"""Loads models again and again in a process of its own: `python reloading_child.py loader|serving onnx|tflite FOLDER RELOADS`.

Prints a JSON list: the KiB that are resident after each 20 reloads, freed memory given back to the kernel first. The models
are 2 MiB each, and every other load fails, in turn in each way that fails late enough to have taken something.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.clock import SystemClock
from agent.mailboxes import Switch
from agent.ports.slots import InstalledBundle, Trial
from agent.ports.source import Frame
from agent.runtime.load import ModelLoader
from agent.serving import Serving
from contract.errors import BadModel
from contract.manifest import Artefact, FileEntry, Label, LabelKind, Manifest, OutputKind, RuntimeKind
from contract.messages import Probation
from contract.preprocess import PreprocessSpec, preprocess
from tests.fakes.agent_line import ListLog
from tests.tiny_bundle import LABELS, manifest_of
from tests.tiny_tflite import tflite_bytes

SIDE = 512
PIXELS = np.full((SIDE, SIDE), 200, np.uint8)


def onnx_bytes(*, opset: int = 17, operator: str = "Gemm") -> bytes:
    """Return a model of one Gemm with 2 MiB of weights."""
    flat = SIDE * SIDE
    weights = np.repeat(np.array([[20.0, -20.0]], np.float32) / flat, flat, axis=0)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node(operator, ["flat", "weights"], ["scores"]),
        ],
        "large",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model) if operator == "Gemm" and opset == 17 else None
    return bytes(model.SerializeToString())


def bundles(kind: RuntimeKind, folder: Path) -> tuple[list[InstalledBundle], list[InstalledBundle]]:
    """Return the bundles that load and those that do not, their files written below `folder`."""
    layout = "NCHW" if kind is RuntimeKind.ONNX else "NHWC"
    spec = PreprocessSpec(height=SIDE, width=SIDE, channels=1, mean=(0.0,), std=(1.0,), layout=layout)
    plain = onnx_bytes() if kind is RuntimeKind.ONNX else tflite_bytes(side=SIDE)

    def bundle(name: str, model: bytes, labels: tuple[Label, ...] = LABELS, side: int = SIDE) -> InstalledBundle:
        (folder / name).mkdir(parents=True)
        file = f"model.{kind.value}"
        (folder / name / file).write_bytes(model)
        made: Manifest = msgspec.structs.replace(
            manifest_of(model, version=name),
            labels=labels,
            preprocess=msgspec.structs.replace(spec, height=side, width=side),
            artefacts=(Artefact(file, kind, "fp32", OutputKind.LOGITS),),
            files=(FileEntry(file, "0" * 64, len(model)),),
        )
        return InstalledBundle(name * 8, folder / name, made)

    good = [bundle("good1", plain), bundle("good2", plain)]
    more_labels = (*LABELS, Label("stain", LabelKind.DEFECT))
    bad = [
        bundle("labels", plain, labels=more_labels),
        bundle("size", plain, side=SIDE // 2),
        bundle("torn", plain[: len(plain) // 2]),
        bundle("none", b"no model"),
    ]
    if kind is RuntimeKind.ONNX:
        bad += [bundle("opset", onnx_bytes(opset=999)), bundle("operator", onnx_bytes(operator="Levitate"))]
    else:
        bad += [bundle("dtype", tflite_bytes(dtype="int16", side=SIDE))]
    return good, bad


def by_loader(loader: ModelLoader, good: list[InstalledBundle], bad: list[InstalledBundle]) -> Callable[[], None]:
    """Return what loads one that fails and one that does not, runs it and frees it."""
    goods, bads = cycle(good), cycle(bad)

    def reload() -> None:
        wrong, right = next(bads), next(goods)
        try:
            loader.load(Path(wrong.folder), wrong.manifest)
        except BadModel:
            pass
        else:
            raise AssertionError(f"{wrong.folder} loads")
        runtime, _ = loader.load(Path(right.folder), right.manifest)
        assert runtime.run(preprocess(PIXELS, right.manifest.preprocess))[0] > 0
        runtime.close()

    return reload


def by_serving(loader: ModelLoader, good: list[InstalledBundle], bad: list[InstalledBundle]) -> Callable[[], None]:
    """Return what puts a candidate that fails and one that is kept on trial, as orders do."""
    clock, switch, numbers = SystemClock(), Switch(), count()
    serving = Serving(loader.load, switch, clock, ListLog(), deadline_ms=1e6, previous=None)
    serving.begin(good[0])
    goods, bads = cycle(good[1:] + good[:1]), cycle(bad)

    def trial(bundle: InstalledBundle, kept: bool) -> None:
        switch.offer(Trial(bundle, f"d{next(numbers)}", Probation(frames=2, min_agreement=0.5, timeout_s=60.0)))
        while True:
            serving.at_frame_boundary()
            outcome = switch.next_outcome(0.0)
            if outcome is not None:
                assert outcome.kept is kept, outcome
                return
            frame = Frame(PIXELS, clock.now(), clock.monotonic())
            model = serving.in_charge
            assert model is not None
            prediction = model.predict(frame)
            serving.decided(prediction, 1.0, serving.shadow(frame))

    def reload() -> None:
        trial(next(bads), kept=False)
        trial(next(goods), kept=True)

    return reload


def resident_kib() -> int:
    """Return what this process holds once everything that is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def main(door: str, kind: str, folder: Path, reloads: int) -> None:
    """Reload, and print what that took."""
    loader = ModelLoader(lambda _text: None, SystemClock(), provider="cpu", engines=folder / "engines")
    good, bad = bundles(RuntimeKind(kind), folder)
    reload = {"loader": by_loader, "serving": by_serving}[door](loader, good, bad)
    held = []
    for done in range(0, reloads, 2):
        if done % 20 == 0:
            held.append(resident_kib())
        reload()
    held.append(resident_kib())
    print(json.dumps(held))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
