"""How pages are read and outputs compared: a harness that takes anything proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page_blocks import Command, anchors, blocks, start_of
from tests.docs.reader import missing

PAGE = """<!-- starts from tour.md, running broker server -->
# A page: of `mine`
## Two
## Two
```sh
# only a remark
one --a \\
  --b
two <<'END'
a b
END
three   # exit 3: as told
```
```console
$ four
seen
$ five   # exit 4
```
```sh no-run=gpu
six
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_commands_are_those_a_reader_types(page: Path) -> None:
    shell, console, unrun = blocks(page)
    assert shell.commands() == [
        Command("one --a \\\n  --b"),
        Command("two <<'END'\na b\nEND"),
        Command("three   # exit 3: as told", code=3),
    ]
    assert console.commands() == [Command("four", ("seen",)), Command("five   # exit 4", code=4)]
    assert unrun.unrun == "gpu" and shell.unrun is None


def test_starts_and_anchors(page: Path) -> None:
    assert start_of(page) == ("tour.md", ("broker", "server"))
    assert anchors(page) == {"a-page-of-mine", "two", "two-1"}


@pytest.mark.parametrize(
    ("shown", "output", "lost"),
    [
        (("released v1: bundle b112aedd932d, 155136 bytes",), "x\nreleased v1: bundle 0a0b0c0d0e0f, 9 bytes", None),
        (("a 1", "b 2"), "b 7\na 7", "b 2"),
        (("held  accuracy: 1.0 ...",), "held    accuracy: 0.955 of it", None),
        (("3 images",), "no images", "3 images"),
        (("the gate is passed",), "the gate is not passed", "the gate is passed"),
    ],
)
def test_shapes_are_compared_and_numbers_are_not(shown: tuple[str, ...], output: str, lost: str | None) -> None:
    assert missing(shown, output) == lost


def test_where_it_says_exact_numbers_are_compared_too() -> None:
    assert missing(("114",), "114", exact=True) is None
    for output in ("1140", "115", "x 114"):
        assert missing(("114",), output, exact=True) == "114", output
    assert missing(("0.0199 ...",), "0.0199 0.0067", exact=True) is None
