"""Strategies for hypothesis: any value of a wire type, drawn from the type itself, bounds included."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of `kind` that decode: a Struct, or what one is made of."""
    return _strategy(msgspec.inspect.type_info(kind))


def _strategy(info: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _strategy(field.type) for field in fields})
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_strategy(each) for each in types])
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(_strategy(item), max_size=3).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(_strategy, items))
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_strategy(key), _strategy(value), max_size=3)
        case msgspec.inspect.IntType(ge=least, le=most):
            return st.integers(-(1 << 63) if least is None else least, (1 << 63) - 1 if most is None else most)
        case msgspec.inspect.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case msgspec.inspect.EnumType(cls=enum):
            return st.sampled_from(list(enum))
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern)
        case msgspec.inspect.StrType():
            return st.text(max_size=20)
        case msgspec.inspect.BytesType():
            return st.binary(max_size=20)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():
            return _JSON
    raise TypeError(f"no strategy for {info}")
