"""What reads bytes from outside, each with its law: only PlumblineErrors come out, and what is accepted is written as it was read.

A law takes any bytes and raises AssertionError (or whatever leaked) where it is broken. hypothesis and atheris both drive it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from agent.commands.selftest import _golden_vectors  # its door is a process and a model; the law is about its reading
from agent.slots.ab_slots import Slots
from agent.slots.tuf_client import TufClient
from agent.update.sealed import seal, unseal
from agent.update.slot_state import CommitMark, Ending, SlotState, TrialRecord
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from contract.archive import ArchiveReader, archive_chunks
from contract.errors import PlumblineError
from contract.manifest import (
    Artefact,
    FileEntry,
    Golden,
    Label,
    LabelKind,
    Manifest,
    OutputKind,
    RuntimeKind,
    Tensor,
    Thresholds,
    decode_manifest,
    encode_manifest,
)
from contract.messages import ConfigOrder, Order, OrderKeys, Probation
from contract.preprocess import PreprocessSpec
from contract.signature import (
    CONFIG_TYPE,
    ORDER_KEYS_TYPE,
    ORDER_TYPE,
    OrderKey,
    sign_configuration,
    sign_order,
    sign_order_keys,
    verify_configuration,
    verify_order,
    verify_order_keys,
)

NOW = 1_795_200_000.0
ORDER = Order("line3-cam1", "ab" * 32, 99, "roll-1", 5, 0, NOW, NOW + 9, Probation(10, 0.9))
CONFIG = ConfigOrder("line3-cam1", "[camera]\nfps = 5\n", "set-1", 3, NOW, NOW + 9)
ORDER_KEYS = OrderKeys(2, {"key-2": "cd" * 32}, NOW)


@dataclass(frozen=True)
class Target:
    """A law, valid inputs to begin from, and the most bytes that atheris may try."""

    law: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]
    max_bytes: int = 4096


# Manifests


def manifest_law(data: bytes) -> None:
    try:
        manifest = decode_manifest(data)
    except PlumblineError:
        return
    written = encode_manifest(manifest)
    assert decode_manifest(written) == manifest
    assert encode_manifest(decode_manifest(written)) == written


def manifest_of(files: dict[str, bytes]) -> Manifest:
    entries = tuple(FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())
    first = next(iter(files))
    return Manifest(
        name="steel",
        version="1",
        created_at=NOW,
        labels=(Label("good", LabelKind.GOOD), Label("crack", LabelKind.DEFECT)),
        preprocess=PreprocessSpec(8, 8, 1, (0.5,), (0.5,)),
        artefacts=(Artefact(first, RuntimeKind.ONNX, "fp32", OutputKind.LOGITS),),
        thresholds=Thresholds(0.9, 0.5),
        files=entries,
        golden=Golden("golden.npz", 1e-3) if "golden.npz" in files else None,
        tensors=(Tensor(first, "w", "<f4", (1, 2), 0, 8),),
    )


# Archives


def archive_law(data: bytes) -> None:
    largest, read = 0, []
    try:
        reader = ArchiveReader(io.BytesIO(data))
        for entry, content in reader.files():
            chunks = list(content)
            largest = max([largest, *map(len, chunks)])
            read.append((entry, chunks))
    except PlumblineError:
        return
    finally:
        assert largest <= 1 << 20, "a content comes in bounded chunks"
    assert b"".join(archive_chunks(reader.manifest_bytes, read)) == data


def archive_of(files: dict[str, bytes]) -> bytes:
    manifest = manifest_of(files)
    contents = [(entry, [files[entry.name]]) for entry in manifest.files]
    return b"".join(archive_chunks(encode_manifest(manifest), contents))


FILES = {"model.onnx": b"m" * 700, "golden.npz": b"g" * 512, "empty": b""}


# Envelopes: the key is real and pinned


@functools.cache
def _signer() -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def _pinned() -> OrderKey:
    public = _signer().public_key
    return OrderKey(public.keyid, public.keyval["public"])


_KINDS: dict[str, tuple[str, type, Callable[..., msgspec.Struct]]] = {
    "order": (ORDER_TYPE, Order, verify_order),
    "configuration": (CONFIG_TYPE, ConfigOrder, verify_configuration),
    "order keys": (ORDER_KEYS_TYPE, OrderKeys, verify_order_keys),
}
_SIGNED: dict[str, msgspec.Struct] = {"order": ORDER, "configuration": CONFIG, "order keys": ORDER_KEYS}


def envelopes() -> tuple[bytes, ...]:
    signer = _signer()
    signed = (sign_order(ORDER, signer), sign_configuration(CONFIG, signer), sign_order_keys(ORDER_KEYS, signer))
    return tuple(each.encode() for each in signed)


def envelope_law(data: bytes) -> None:
    """Whatever is done to an envelope: nothing is accepted but what the key has signed, as what it was signed for."""
    for name, (_, _, verify) in _KINDS.items():
        try:
            accepted = verify(data.decode("utf-8", "surrogateescape"), [_pinned()])
        except PlumblineError:
            continue
        assert accepted == _SIGNED[name]


def signed_payload_law(data: bytes) -> None:
    """Whatever the key itself signs is refused in words, or is a message that is written as it was read."""
    for payload_type, kind, verify in _KINDS.values():
        envelope = Envelope(data, payload_type, {})
        envelope.sign(_signer())
        wire = envelope.to_dict()
        try:
            accepted = verify(msgspec.json.encode(wire).decode(), [_pinned()])
        except PlumblineError:
            continue
        assert msgspec.json.decode(msgspec.json.encode(accepted), type=kind) == accepted


# State files


_STATES = (
    SlotState(),
    SlotState(TrialRecord(ORDER, 2), (("ab" * 32, "roll-0"),), Ending(ORDER, kept=False, reason="it crashed")),
)


def sealed_law(data: bytes) -> None:
    """As they lie on the disk, and with a checksum that holds; a station starts over either."""
    for kept in (data, b"%08x\n%s\n" % (zlib.crc32(data), data)):
        for kind in (SlotState, CommitMark):
            value = unseal(kept, kind)
            assert value is None or unseal(seal(value), kind) == value
        with tempfile.TemporaryDirectory() as folder:
            slots = Slots(Path(folder))
            (Path(folder) / "state").write_bytes(kept)
            (Path(folder) / "committed" / ("ab" * 32)).write_bytes(kept)
            assert slots.boot_bundle() is None, "a mark alone boots nothing"
            slots.trial(), slots.last(), slots.banned()
            slots.collect_garbage()


# Golden vectors


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


PIXELS, SCORES = np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 2), np.float32)


def golden_law(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "golden.npz").write_bytes(data)
        manifest = manifest_of({"model.onnx": b"m" * 8, "golden.npz": data})
        try:
            pixels, scores = _golden_vectors(Path(folder), manifest)
        except PlumblineError:
            return
    assert scores is not None and scores.dtype == np.float32 and pixels.dtype == np.uint8
    assert pixels.ndim in (3, 4) and scores.shape == (len(pixels), 2) and len(pixels)
    assert pixels.nbytes + scores.nbytes <= 64 * len(data) + 4096, "an array is no larger than what is there"


# TUF metadata


class TufServer:
    """A released repository, of which one file is served as whatever a law says."""

    def __init__(self, folder: Path) -> None:
        keys, registry = init_keys(folder / "keys"), Registry(folder / "registry")
        tuf = registry.tuf(keys)
        self.root = tuf.create(NOW)
        archive = folder / "a.plb"
        archive.write_bytes(archive_of(FILES))
        self.digest, self.size = hashlib.sha256(archive.read_bytes()).hexdigest(), archive.stat().st_size
        tuf.publish(archive, {}, NOW)
        metadata = registry.tuf_folder / "metadata"
        self.files = {path.name: path.read_bytes() for path in metadata.iterdir()}
        self.names = [max(self._named(role)) for role in ("timestamp", "snapshot", "targets")]

    def look_up(self, folder: Path, name: str, data: bytes) -> tuple[int, object]:
        served = self.files | {name: data}

        def answer(request: httpx.Request) -> httpx.Response:
            found = served.get(request.url.path.rpartition("/")[2])
            return httpx.Response(200, stream=httpx.ByteStream(found)) if found is not None else httpx.Response(404)

        with httpx.Client(transport=httpx.MockTransport(answer)) as client:
            return TufClient(client, "http://tuf", folder, self.root).look_up(self.digest, NOW)

    def _named(self, role: str) -> list[str]:
        return [name for name in self.files if f"{role}.json" in name]


@functools.cache
def tuf_server() -> TufServer:
    with tempfile.TemporaryDirectory() as folder:
        return TufServer(Path(folder))


def tuf_law(data: bytes) -> None:
    """Each role's file in turn is `data`, as is the next root: what is found is the bundle that was released, or nothing."""
    server = tuf_server()
    for name in (*server.names, "2.root.json"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                size, _ = server.look_up(Path(folder), name, data)
            except PlumblineError:
                continue
            assert size == server.size


def pinned_root_law(data: bytes) -> None:
    with httpx.Client() as client, tempfile.TemporaryDirectory() as folder:
        try:
            TufClient(client, "http://tuf", Path(folder), data)
        except PlumblineError:
            return


def _tuf_seeds() -> tuple[bytes, ...]:
    server = tuf_server()
    return (*(server.files[name] for name in server.names), server.root)


TARGETS = {
    "manifest": Target(manifest_law, lambda: (encode_manifest(manifest_of(FILES)),)),
    "archive": Target(archive_law, lambda: (archive_of(FILES), archive_of({"model.onnx": b"m" * 8})), 16 << 10),
    "envelope": Target(envelope_law, envelopes),
    "signed payload": Target(signed_payload_law, lambda: tuple(map(msgspec.json.encode, _SIGNED.values()))),
    "sealed": Target(sealed_law, lambda: (*map(msgspec.json.encode, _STATES), *map(seal, _STATES))),
    "golden": Target(
        golden_law, lambda: (npz(pixels=PIXELS, scores=SCORES), npz(pixels=PIXELS[..., 0], scores=SCORES))
    ),
    "tuf metadata": Target(tuf_law, _tuf_seeds, 8192),
    "pinned root": Target(pinned_root_law, _tuf_seeds, 8192),
}
"""Every target by name. A new reader of foreign bytes (a delta, say) is one more line here, and a law above."""

# These break their law until branch hfaults-fixes is merged (FINDINGS F7, F12); then this goes.
BROKEN = frozenset({"golden", "pinned root"})
