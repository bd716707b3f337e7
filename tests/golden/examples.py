"""One filled-in example of everything on the wire, made by arithmetic alone: the same on every machine and in every year."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from contract.codec import decode_control, decode_summary, encode_control, encode_summary
from contract.gaps import gap_key, sign_gap
from contract.manifest import (
    Artefact,
    Compatibility,
    FileEntry,
    Golden,
    Label,
    LabelKind,
    Lineage,
    Manifest,
    OutputKind,
    Resources,
    RuntimeKind,
    Tensor,
    Thresholds,
    decode_manifest,
    encode_manifest,
)
from contract.messages import (
    Accounting,
    Ack,
    AggregatorState,
    Command,
    CommandResult,
    ConfigOrder,
    DesiredState,
    GapNote,
    Header,
    HealthNote,
    OpinionsNote,
    Order,
    OrderKeys,
    Probation,
    ReportedState,
    SampleNote,
    ShadowNote,
    StationState,
    Summary,
)
from contract.preprocess import PreprocessSpec
from contract.signature import OrderKey, sign_configuration, sign_order, sign_order_keys
from contract.sketches.moments import N_STATISTICS, PAIRS
from contract.sketches.window import FEATURES_VERSION, SketchIdentity, Window, empty_window, layout
from contract.sketches.wire import to_wire

STATION, BOOT = "line3-cam1", "6f1d0c52a9b84e7f"
BUNDLE, CANDIDATE, MODEL, REFERENCE = "ab" * 32, "cd" * 32, "ef" * 32, "01" * 32
_AT = 1_795_000_000.5

_SIGNER = CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ORDER_KEY = OrderKey(_SIGNER.public_key.keyid, _SIGNER.public_key.keyval["public"])
"""The public half of the key that signed the golden order: a key for tests, known to everybody."""


@dataclass(frozen=True, slots=True)
class Example:
    """A message, how it becomes bytes, and how it comes back."""

    message: msgspec.Struct
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], msgspec.Struct]
    packed: bool = False


def window() -> Window:
    """Return a window of five frames as a station could have summed it."""
    frames = 5
    blank = empty_window(SketchIdentity(FEATURES_VERSION, 7, REFERENCE, MODEL, 3))
    sums, registers = blank.sums.copy(), blank.registers.copy()
    part = {name: sums[each.start : each.stop] for name, each in layout(3).items()}
    values = (np.arange(frames * N_STATISTICS).reshape(frames, N_STATISTICS) * 7919) % 65536 - 20000
    part["moments"][:], part["moments2"][:] = values.sum(axis=0), (values * values).sum(axis=0)
    part["products"][:] = (values.T @ values)[PAIRS]
    for row in range(N_STATISTICS):
        for frame in range(frames):
            part["histograms"][64 * row + (11 * row + 5 * frame) % 64] += 1
    projected = (np.arange(frames * 64).reshape(frames, 64) * 104729) % 400000 - 200000
    part["projection"][:], part["projection2"][:] = projected.sum(axis=0), (projected * projected).sum(axis=0)
    part["fourier"][:] = ((np.arange(frames * 256).reshape(frames, 256) * 31) % 8191 - 4095).sum(axis=0)
    part["labels"][:] = (3, 1, 1)
    part["confidence"][[60, 61, 62, 64 + 40, 128 + 33]] = 1
    part["latency"][[20, 21, 30]] = (3, 1, 1)
    registers[[3, 77, 128, 200, 255]] = (1, 2, 1, 5, 3)
    return Window(blank.identity, frames, sums, values.min(axis=0), values.max(axis=0), registers)


def order() -> Order:
    """Return an order."""
    return Order(
        STATION,
        BUNDLE,
        1_234_567,
        "roll-7",
        42,
        3,
        _AT,
        _AT + 86_400.0,
        Probation(256, 0.9, 300.0, 0.25, 0.125, 96.5, 3_600.0, True),
    )


def summary() -> Summary:
    """Return a summary with every field filled in."""
    message = Summary(
        header=Header(STATION, BOOT, 17, _AT - 60.0, _AT, 3600.25, True, BUNDLE, camera="left"),
        accounting=Accounting(
            captured=9,
            passed=3,
            rejected=1,
            review={"unsure": 1, "late": 1},
            dropped={"queue": 2},
            undecided=1,
            asked_cloud=2,
            cloud_answers=1,
        ),
        window=to_wire(window()),
        samples=(
            SampleNote("s-1", _AT - 30.0, "part 4711", "scratch", 0.5625, "REVIEW", "hard", 0.0, 1.25),
            SampleNote("s-2", _AT - 20.0, "", "good", 0.96875, "PASS", "audit", 0.03125, 2.5),
        ),
        shadow=ShadowNote(
            CANDIDATE,
            "roll-7",
            128,
            120,
            verdicts={"PASS": 100, "REVIEW": 28},
            incumbent={"PASS": 99, "REJECT": 1, "REVIEW": 28},
            failed=1,
            mean_ms=2.75,
            memory_mib=48.5,
        ),
        simulated=True,
        note="Überlauf: 2 frames",
        opinions=OpinionsNote(6, 4, 2, 1, 1, 3, {"evicted": 1}),
        covers=((12, 14), (16, 16)),
        gap=GapNote(4, "lack of room"),
        health=HealthNote(118.5, 71.25, 95.0, True, 2, 20_480, 7, True, 14.5, 3120.0, 0.5, 0.25),
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return sign_gap(message, gap_key("a token for tests, known to everybody"))


def _artefact(file: str, runtime: RuntimeKind, precision: str, output: OutputKind, scheme: str) -> Artefact:
    thresholds = Thresholds(0.9, 0.7, "learn-then-test")
    return Artefact(file, runtime, precision, output, scheme, thresholds, "embedding", "activation_map")


def manifest() -> Manifest:
    """Return a manifest with every field filled in."""
    return Manifest(
        name="steel",
        version="7",
        created_at=_AT,
        labels=(Label("good", LabelKind.GOOD), Label("Kratzer", LabelKind.DEFECT)),
        preprocess=PreprocessSpec(64, 96, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "NHWC", "uint8"),
        artefacts=(
            _artefact("model.int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS, "u8s8"),
            _artefact("model.tflite", RuntimeKind.TFLITE, "fp16", OutputKind.INDEPENDENT, "s8s8"),
        ),
        thresholds=Thresholds(0.95, 0.75, "learn-then-test"),
        files=(
            FileEntry("model.int8.onnx", "1a" * 32, 1_000_000, ("1a" * 32,)),
            FileEntry("model.tflite", "2b" * 32, 2_000_000, ("2b" * 32, "2c" * 32)),
            FileEntry("golden.npz", "3c" * 32, 4096, ("3c" * 32,)),
            FileEntry("gate.json", "6f" * 32, 100, ("6f" * 32,)),
            FileEntry("model_card.md", "70" * 32, 200, ("70" * 32,)),
        ),
        golden=Golden("golden.npz", 0.125),
        release_counter=3,
        lineage=Lineage("4d" * 32, "small-cnn", BUNDLE, "0.1.0", "5e" * 32),
        simulated=True,
        tensors=(Tensor("model.int8.onnx", "conv.weight", "int8", (8, 3, 3, 3), 512, 216),),
        compatibility=Compatibility(("aarch64",), {"onnxruntime": "1.20"}, "0.1.0"),
        resources=Resources(61.0, 3_004_396),
        gate_report="gate.json",
        model_card="model_card.md",
    )


def config_order() -> ConfigOrder:
    """Return an order of settings."""
    text = "[windows]\nframes = 128\n"
    return ConfigOrder(STATION, text, "settings-3", 3, _AT, _AT + 86_400.0, 120.0)


def order_keys() -> OrderKeys:
    """Return replaced order keys."""
    return OrderKeys(2, {ORDER_KEY.keyid: ORDER_KEY.public}, _AT)


def examples() -> dict[str, Example]:
    """Return an example of each message by the name of its golden file."""
    control: dict[str, msgspec.Struct] = {
        "station_state": StationState(STATION, BOOT, True, _AT, "0.1.0", True, next_seq=18, board="jetson-orin-nano"),
        "reported_state": ReportedState(
            STATION,
            BOOT,
            _AT,
            BUNDLE,
            "PROBATION",
            "roll-7",
            CANDIDATE,
            "agrees on 120 of 128",
            42,
            128,
            120,
            configuration=MODEL,
            config_state="COMMITTED",
            config_deployment="settings-3",
            config_reason="kept",
            config_seq=3,
            outcome="shadowed",
        ),
        "desired_state": DesiredState(
            STATION,
            sign_order(order(), _SIGNER),
            configuration=sign_configuration(config_order(), _SIGNER),
            order_keys=sign_order_keys(order_keys(), _SIGNER),
        ),
        "order": order(),
        "config_order": config_order(),
        "order_keys": order_keys(),
        "command": Command("c-9", STATION, "upload_samples", _AT + 60.0, {"samples": ["s-1", "s-2"]}),
        "command_result": CommandResult("c-9", STATION, False, "s-2 was evicted"),
        "ack": Ack(
            STATION,
            BOOT,
            ((1, 16), (18, 18)),
            100,
            conflicts=((17, 17),),
            renew_boot=True,
            contents=tuple(zlib.crc32(bytes([seq])) for seq in (*range(1, 17), 18, 17)),
        ),
        "aggregator_state": AggregatorState(True, _AT),
    }
    return {
        "summary": Example(summary(), encode_summary, decode_summary, packed=True),
        **{name: _control(message) for name, message in control.items()},
        "manifest": Example(manifest(), encode_manifest, decode_manifest),
    }


def _control(message: msgspec.Struct) -> Example:
    kind = type(message)
    return Example(message, encode_control, lambda payload: decode_control(payload, kind))


def from_newer_writer(value: Any) -> Any:
    """Return `value` as plain maps, each struct with a field that this version does not know."""
    if isinstance(value, msgspec.Struct):
        known = {name: from_newer_writer(getattr(value, name)) for name in value.__struct_fields__}
        return {"a_later_field": {"deep": [1, -2.5, None, "x", {"y": True}]}, **known, "z_later_field": 7}
    if isinstance(value, tuple):
        return [from_newer_writer(each) for each in value]
    if isinstance(value, dict):
        # A map of names to bytes is a window's sections, which a newer writer may add to.
        later = {"later_section": b"\x01\x02"} if any(isinstance(each, bytes) for each in value.values()) else {}
        return {**{key: from_newer_writer(each) for key, each in value.items()}, **later}
    return value


def from_older_writer(value: Any) -> Any:
    """Return `value` as plain maps that hold only what version 1 has always required."""
    if isinstance(value, msgspec.Struct):
        return {name: from_older_writer(getattr(value, name)) for name in required_fields(type(value))}
    if isinstance(value, tuple):
        return [from_older_writer(each) for each in value]
    return value


def with_defaults(value: Any) -> Any:
    """Return `value` with every field that has a default at that default, at every level."""
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: with_defaults(getattr(value, name)) for name in required_fields(type(value))})
    if isinstance(value, tuple):
        return tuple(with_defaults(each) for each in value)
    return value


def required_fields(kind: type[msgspec.Struct]) -> list[str]:
    """Return the names of the fields of `kind` that have no default."""
    return [field.name for field in msgspec.structs.fields(kind) if field.required]
