from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import errors
from contract.errors import PlumblineError, RefusedError, TransientError

CLASSES = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PlumblineError)}
_TREE_LINE = re.compile(r"(?P<indent>[│├└─ ]*)(?P<name>\w+)\s{2,}(?P<says>.+)")


def tree_in_docstring() -> dict[str, tuple[str, str]]:
    """Return what the docstring's tree says: name to (parent's name, description)."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines()[2:]:
        if match := _TREE_LINE.fullmatch(line):
            depth = len(match["indent"]) // 4
            path[depth:] = [match["name"]]
            assert match["name"] not in found, f"{match['name']} stands twice in the tree"
            found[match["name"]] = (path[depth - 1] if depth else "", match["says"])
    return found


def test_the_tree_in_the_docstring_lists_exactly_the_classes_there_are() -> None:
    parents = {name: kind.__bases__[0].__name__ for name, kind in CLASSES.items()} | {"PlumblineError": ""}
    assert {name: parent for name, (parent, _) in tree_in_docstring().items()} == parents


def test_the_tree_says_of_each_trunk_whether_to_retry() -> None:
    said = {name: says for name, (_, says) in tree_in_docstring().items()}
    for trunk in (TransientError, RefusedError):
        assert said[trunk.__name__].startswith(f"retry={trunk.retry}:")


@pytest.mark.parametrize("kind", CLASSES.values(), ids=list(CLASSES))
def test_every_error_knows_whether_a_retry_can_help(kind: type[PlumblineError]) -> None:
    error = kind("it broke", hint="mend it")
    assert error.retry is issubclass(kind, TransientError)
    assert error.one_line() == "it broke (mend it)"
    assert kind("it broke").one_line() == "it broke"
    assert str(error) == "it broke"
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES.values(), ids=list(CLASSES))
def test_every_error_stands_on_one_trunk(kind: type[PlumblineError]) -> None:
    trunks = [trunk for trunk in (TransientError, RefusedError) if issubclass(kind, trunk)]
    assert len(trunks) == (0 if kind is PlumblineError else 1)


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_whatever_a_message_quotes_it_prints_as_one_line(message: str, hint: str) -> None:
    line = PlumblineError(message, hint=hint).one_line()
    assert len(line.splitlines()) <= 1
    assert line.isprintable()
    line.encode()  # no lone surrogate of a file name that is not UTF-8


def test_escape_codes_in_a_quoted_name_do_not_reach_the_terminal() -> None:
    assert PlumblineError("no file '\x1b[2J\x07a\u202eb'").one_line() == "no file '\ufffd[2J\ufffda\ufffdb'"


def test_words_and_umlauts_stay_as_they_are() -> None:
    assert PlumblineError("kein  Gerät\n'Prüfstand 3'", hint=" 检查 ").one_line() == "kein Gerät 'Prüfstand 3' (检查)"
