"""Where the constant tensors of a model lie in its file: the manifest's tensor table, which deltas are aligned by (OTA-7).

Both walks follow lengths and offsets that the file states, each checked before it is followed, and look at no tensor's bytes.
A file that is no model has no table: what refuses it is whoever loads it, and a delta without a table is only larger.

Source: onnx.proto3 (ONNX IR 10) over the protobuf wire format; TensorFlow Lite's schema.fbs over FlatBuffers' binary format.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from contract.errors import NotFound
from contract.manifest import RuntimeKind, Tensor

MIN_TENSOR_BYTES = 64
"""Smaller tensors (scalars, shapes, zero points) are left out: their row would be larger than what it could save."""
MAX_TENSORS = 10_000
_ONNX_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
}
_TFLITE_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    17: "int4",
}
_BITS = {"int4": 4, "uint4": 4, "bool": 8, "bfloat16": 16}
_MAX_DIMENSIONS = 16
_MAX_NAME = 512
Data = bytes | mmap.mmap


class _Malformed(Exception):
    """The file is not what its runtime would load."""


def tensors_of(model: Path, name: str, runtime: RuntimeKind) -> tuple[Tensor, ...]:
    """Return the constant tensors of `model`, sorted by offset, none overlapping; () when it is no such model.

    Args:
        name: what the file is called within its bundle.
    Raises:
        NotFound: there is no such file.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tensors_in(data, name, runtime)
    except FileNotFoundError as error:
        raise NotFound(f"no model '{model}'", hint="check the path") from error
    except ValueError:  # mmap says so of an empty file
        return ()


def tensors_in(data: Data, name: str, runtime: RuntimeKind) -> tuple[Tensor, ...]:
    """Return the same of a model's bytes."""
    try:
        found = _onnx(data, name) if runtime is RuntimeKind.ONNX else _tflite(data, name)
        tensors = sorted(found, key=lambda tensor: (tensor.offset, tensor.name))
    except _Malformed:
        return ()
    kept: list[Tensor] = []
    end = 0
    for tensor in tensors:
        # TensorFlow Lite lets tensors share a buffer: the bytes are listed once, by the first name.
        if tensor.offset >= end and len(kept) < MAX_TENSORS:
            kept.append(tensor)
            end = tensor.offset + tensor.size_bytes
    return tuple(kept)


def _tensor(file: str, name: bytes, dtype: str, shape: tuple[int, ...], offset: int, size: int) -> Tensor | None:
    """Return the row, or None for one too small to list or whose shape and type do not account for its bytes."""
    bits = _BITS.get(dtype) or 8 * int(struct.calcsize(_CODES[dtype]))
    elements = 1
    for side in shape:
        elements *= side
    if size < MIN_TENSOR_BYTES or len(name) > _MAX_NAME or -(-elements * bits // 8) != size:
        return None
    return Tensor(file, name.decode("utf-8", "replace"), dtype, shape, offset, size)


_CODES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}


# ONNX: ModelProto.graph = 7; GraphProto.initializer = 5; TensorProto dims = 1, data_type = 2, name = 8, raw_data = 9.


def _onnx(data: Data, file: str) -> Iterator[Tensor]:
    for number, at, end in _fields(data, 0, len(data)):
        if number != 7:
            continue
        for inner, begin, stop in _fields(data, at, end):
            if inner == 5:
                row = _initializer(data, file, begin, stop)
                if row is not None:
                    yield row


def _initializer(data: Data, file: str, at: int, end: int) -> Tensor | None:
    shape: list[int] = []
    dtype, name, raw = 0, b"", (0, 0)
    for number, begin, stop in _fields(data, at, end):
        if number == 1:  # packed or one by one: the same bytes of varints
            while begin < stop and len(shape) < _MAX_DIMENSIONS:
                side, begin = _varint(data, begin, stop)
                shape.append(side)
        elif number == 2:
            dtype, _ = _varint(data, begin, stop)
        elif number == 8:
            name = data[begin : min(stop, begin + _MAX_NAME + 1)]
        elif number == 9:
            raw = (begin, stop - begin)
    kind = _ONNX_DTYPES.get(dtype)
    return _tensor(file, name, kind, tuple(shape), *raw) if kind is not None else None


def _fields(data: Data, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, begin, end) of each field's value in the message that is data[at:end]; varints begin at their first byte."""
    while at < end:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == 0:
            begin = at
            _, at = _varint(data, at, end)
        elif kind in (1, 5):
            begin, at = at, at + (8 if kind == 1 else 4)
        elif kind == 2:
            size, begin = _varint(data, at, end)
            at = begin + size
        else:
            raise _Malformed
        if at > end:
            raise _Malformed
        yield tag >> 3, begin, at


def _varint(data: Data, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise _Malformed
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed


# TensorFlow Lite: Model.subgraphs = 2, .buffers = 4; SubGraph.tensors = 0;
# Tensor.shape = 0, .type = 1, .buffer = 2, .name = 3; Buffer.data = 0.


def _tflite(data: Data, file: str) -> Iterator[Tensor]:
    if data[4:8] != b"TFL3":
        raise _Malformed
    flat = _Flat(data)
    model = flat.u32(0)
    buffers = flat.tables(model, 4)
    for subgraph in flat.tables(model, 2):
        for tensor in flat.tables(subgraph, 0):
            at = flat.field(tensor, 2)
            index = flat.u32(at) if at else 0
            if not 0 < index < len(buffers):
                continue
            offset, size = flat.vector(buffers[index], 0, 1)
            kind_at = flat.field(tensor, 1)
            kind = _TFLITE_DTYPES.get(flat.u8(kind_at) if kind_at else 0)
            shape_at, sides = flat.vector(tensor, 0, 4)
            if kind is None or not size or sides > _MAX_DIMENSIONS:
                continue
            shape = tuple(flat.u32(shape_at + 4 * i) for i in range(sides))
            name_at, length = flat.vector(tensor, 3, 1)
            row = _tensor(file, data[name_at : name_at + min(length, _MAX_NAME + 1)], kind, shape, offset, size)
            if row is not None:
                yield row


class _Flat:
    """Reads FlatBuffers' tables, with every position checked against the file's end."""

    def __init__(self, data: Data) -> None:
        self._data, self._left = data, 4 * MAX_TENSORS

    def u8(self, at: int) -> int:
        if not 0 <= at < len(self._data):
            raise _Malformed
        return self._data[at]

    def u32(self, at: int) -> int:
        if not 0 <= at <= len(self._data) - 4:
            raise _Malformed
        return int(struct.unpack_from("<I", self._data, at)[0])

    def field(self, table: int, number: int) -> int:
        """Return where a table's field lies, 0 when it is not set."""
        if not 0 <= table <= len(self._data) - 4:
            raise _Malformed
        vtable = table - int(struct.unpack_from("<i", self._data, table)[0])
        slot = 4 + 2 * number
        if slot + 2 > self.u8(vtable) + 256 * self.u8(vtable + 1):
            return 0
        offset = self.u8(vtable + slot) + 256 * self.u8(vtable + slot + 1)
        return table + offset if offset else 0

    def vector(self, table: int, number: int, item_bytes: int) -> tuple[int, int]:
        """Return (where its items begin, how many) of a vector or string, (0, 0) when it is not set."""
        at = self.field(table, number)
        if not at:
            return 0, 0
        start = at + self.u32(at)
        items = self.u32(start)
        if start + 4 + items * item_bytes > len(self._data):
            raise _Malformed
        return start + 4, items

    def tables(self, table: int, number: int) -> list[int]:
        """Return where the tables of a vector lie."""
        start, items = self.vector(table, number, 4)
        self._left -= items  # a file may point at one long vector again and again
        if self._left < 0:
            raise _Malformed
        return [start + 4 * i + self.u32(start + 4 * i) for i in range(items)]
