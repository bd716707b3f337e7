"""How pages are read and outputs compared: a harness that takes anything proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page_blocks import Command, anchors, blocks, put_in, stand_ins, start_of
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
```sh ready=up,there
seven & # in its own time
eight --x 'a & b'
nine&
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def test_commands_are_those_a_reader_types(page: Path) -> None:
    shell, console, unrun, left = blocks(page)
    assert shell.commands() == [
        Command("one --a \\\n  --b"),
        Command("two <<'END'\na b\nEND"),
        Command("three   # exit 3: as told", code=3),
    ]
    assert console.commands() == [Command("four", ("seen",)), Command("five   # exit 4", code=4)]
    assert unrun.unrun == "gpu" and shell.unrun is None
    assert left.commands() == [
        Command("seven", ready="up"),
        Command("eight --x 'a & b'"),
        Command("nine", ready="there"),
    ]


def test_a_word_of_ready_that_is_of_no_command_is_a_mistake(page: Path) -> None:
    page.write_text("```sh ready=up,there\none &\n```\n")
    (block,) = blocks(page)
    with pytest.raises(AssertionError, match="ends in &"):
        block.commands()


def test_what_stands_for_something_of_the_readers_is_typed_so(page: Path) -> None:
    page.write_text("<!-- typed with cloud.toml=plant/cloud.toml /srv/x=mine line2=line3-cam1 -->\n# A page\n")
    words = stand_ins(page)
    assert put_in("do --config cloud.toml /srv/x/keys line2 line22 my-line2", words) == (
        "do --config plant/cloud.toml mine/keys line3-cam1 line22 my-line2"
    )
    assert (
        put_in("do other/cloud.toml x.cloud.toml cloud.toml.bak", words)
        == "do other/cloud.toml x.cloud.toml cloud.toml.bak"
    )
    assert put_in("do cloud.toml", {}) == "do cloud.toml"


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
