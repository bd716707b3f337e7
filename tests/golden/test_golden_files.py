"""What version 1 looks like on the wire, pinned: bytes that were ever sent are understood for as long as it lives."""

from __future__ import annotations

from inspect import getmembers, isclass

import msgspec
import pytest

from contract import manifest, messages
from contract.codec import decode_summary
from contract.errors import BadBundle, BadMessage
from contract.messages import DesiredState, Summary
from contract.signature import verify_order
from contract.sketches.window import WindowWire, empty_window, merge
from contract.sketches.wire import from_wire, to_wire
from tests.golden.examples import (
    ORDER_KEY,
    Example,
    examples,
    from_newer_writer,
    order,
    required_fields,
    window,
    with_defaults,
)
from tests.golden.write import FOLDER, path_of, read

EXAMPLES = examples()
every_message = pytest.mark.parametrize(("name", "example"), EXAMPLES.items(), ids=list(EXAMPLES))


def structs_in(value: object) -> set[type]:
    if isinstance(value, msgspec.Struct):
        return {type(value)}.union(*(structs_in(getattr(value, name)) for name in value.__struct_fields__))
    if isinstance(value, tuple):
        return set().union(*map(structs_in, value))
    return set()


def test_every_wire_type_has_a_golden_file() -> None:
    pinned = set().union(*(structs_in(example.message) for example in EXAMPLES.values()))
    defined = {
        kind
        for module in (messages, manifest)
        for _, kind in getmembers(module, isclass)
        if issubclass(kind, msgspec.Struct)
    }
    assert defined - pinned == set()


def test_examples_fill_in_every_field() -> None:
    # A field left at its default would be pinned only in the absence.
    seen: set[type] = set()
    for example in EXAMPLES.values():
        for struct in _instances(example.message):
            seen.add(type(struct))
            for field in msgspec.structs.fields(type(struct)):
                if not field.required and field.name not in ("v", "manifest_version"):
                    assert getattr(struct, field.name) != field.default, f"{type(struct).__name__}.{field.name}"
    assert len(seen) > 15


def _instances(value: object) -> list[msgspec.Struct]:
    if isinstance(value, msgspec.Struct):
        return [value, *(each for name in value.__struct_fields__ for each in _instances(getattr(value, name)))]
    return [each for part in value for each in _instances(part)] if isinstance(value, tuple) else []


def test_no_golden_file_is_an_orphan() -> None:
    expected = {
        path_of(name, example, writer) for name, example in EXAMPLES.items() for writer in ("", "newer", "older")
    }
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == expected


@every_message
def test_golden_bytes_still_mean_what_they_meant(name: str, example: Example) -> None:
    assert example.decode(read(path_of(name, example))) == example.message


@every_message
def test_encoding_still_gives_the_golden_bytes(name: str, example: Example) -> None:
    assert example.encode(example.message) == read(path_of(name, example))


@every_message
def test_fields_of_a_newer_writer_are_skipped_at_every_level(name: str, example: Example) -> None:
    decoded = example.decode(read(path_of(name, example, "newer")))
    if isinstance(decoded, Summary) and decoded.window is not None:
        # Sections are named in a map, so an unknown one comes along; reading the window leaves it out.
        assert from_wire(decoded.window) == window()
        decoded = msgspec.structs.replace(decoded, window=to_wire(from_wire(decoded.window)))
    assert decoded == example.message


@every_message
def test_an_older_writers_missing_fields_take_their_defaults(name: str, example: Example) -> None:
    assert example.decode(read(path_of(name, example, "older"))) == with_defaults(example.message)


@every_message
def test_a_missing_required_field_is_refused(name: str, example: Example) -> None:
    plain = msgspec.msgpack if example.packed else msgspec.json
    whole = plain.decode(read(path_of(name, example)))
    for field in required_fields(type(example.message)):
        lacking = {key: value for key, value in whole.items() if key != field}
        with pytest.raises((BadMessage, BadBundle), match=field):
            example.decode(plain.encode(lacking))


@every_message
@pytest.mark.parametrize("version", [0, 2, 1 << 40])
def test_another_version_is_refused_with_advice(name: str, example: Example, version: int) -> None:
    plain = from_newer_writer(example.message)
    if example.packed:
        plain["header"]["v"] = version
        payload = msgspec.msgpack.encode(plain)
    else:
        plain["manifest_version" if name == "manifest" else "v"] = version
        payload = msgspec.json.encode(plain)
    with pytest.raises((BadMessage, BadBundle), match=f"version {version} is not 1") as caught:
        example.decode(payload)
    assert caught.value.hint


def test_the_golden_order_is_believed_by_a_station_that_pinned_its_key() -> None:
    path = path_of("desired_state", EXAMPLES["desired_state"])
    desired = EXAMPLES["desired_state"].decode(read(path))
    assert isinstance(desired, DesiredState)
    assert verify_order(desired.envelope, [ORDER_KEY]) == order()


def test_the_golden_window_merges() -> None:
    decoded = EXAMPLES["summary"].decode(read(path_of("summary", EXAMPLES["summary"])))
    assert isinstance(decoded, Summary)
    assert isinstance(decoded.window, WindowWire)
    whole = from_wire(decoded.window)
    assert merge(whole, empty_window(whole.identity)) == window()
    assert merge(whole, whole).frames == 10


def test_a_window_of_features_1_is_still_understood() -> None:
    # It has no products; and what is not there is not taken for zero.
    payload = bytes.fromhex((FOLDER.parent / "summary_features_1.msgpack.hex").read_text("utf-8"))
    sketch = decode_summary(payload).window
    assert sketch is not None and sketch.identity.features == 1 and "products" not in sketch.sections
    old = from_wire(sketch)
    assert old.frames == 5 and old.covariance() is None and (old.sds() > 0).any()
    assert to_wire(merge(old, old)).sections.keys() == sketch.sections.keys()
