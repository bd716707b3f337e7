"""Every command of docs/, of the README and of deploy/ is typed, in its page's order, against a real plant."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.page_blocks import ROOT, Block, blocks, brought, pages, put_in, stand_ins, start_of
from tests.docs.reader import Desk, Reader, missing
from tests.docs.tiles import make_tiles
from tests.tiny_tflite import tflite_bytes


def _tflite(file: Path) -> None:
    file.write_bytes(tflite_bytes(side=32))


def _deploy(folder: Path) -> None:
    shutil.copytree(ROOT / "deploy", folder)


def _plugin(file: Path) -> None:
    file.write_bytes(b"mosquitto's, where the image has it; it is named in a configuration and not loaded here")


BRINGS = {"model.tflite": _tflite, "deploy": _deploy, "tiles": make_tiles, "mosquitto_dynamic_security.so": _plugin}
"""How what a reader has of his own before he comes is made, by its name on the page."""

FOLLOWED = [page for page in pages() if any(block.is_shell and block.unrun is None for block in blocks(page))]

QUICK = (
    "docs/README.md",
    "docs/benchmarks.md",
    "docs/comparison.md",
    "docs/install.md",
    "docs/privacy.md",
    "docs/security.md",
)
"""Pages that the suite of ten minutes follows; `./scripts/test --slow` follows the others, and CI both."""


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


EACH = [
    pytest.param(page, id=_named(page), marks=() if _named(page) in QUICK else (pytest.mark.slow,)) for page in FOLLOWED
]


class Library:
    """The folders that pages left, made when a page asks for them: each page is followed once."""

    def __init__(self, desk: Desk, folder: Path, *, slowly: bool = False) -> None:
        self._desk, self._folder, self._slowly = desk, folder, slowly
        self._done: dict[Path, Path | str] = {}

    def follow(self, page: Path) -> Path:
        """Follow a page and return its folder; a page that failed fails again, without a second try."""
        if page not in self._done:
            try:
                self._done[page] = self._first_time(page)
            except AssertionError as error:
                self._done[page] = str(error)
                raise
        left = self._done[page]
        assert isinstance(left, Path), f"{_named(page)} does not hold: {left[:300]}"
        return left

    def _first_time(self, page: Path) -> Path:
        folder = self._folder / _named(page).removesuffix(".md").replace("/", "-")
        start = start_of(page)
        reader: Reader | None = None
        try:
            if start is not None:
                before = (page.parent / start[0]).resolve()
                shutil.copytree(self.follow(before), folder, symlinks=True)
                reader = Reader(self._desk, folder)
                running = {each.options["background"]: each for each in blocks(before) if "background" in each.options}
                for name in start[1]:
                    (command,) = running[name].commands()
                    reader.leave_running(name, command)
            reader = reader or Reader(self._desk, folder)
            for name in brought(page):
                BRINGS[name](folder / name)
            for block in blocks(page):
                if block.is_shell and block.unrun is None and (self._slowly or not block.is_slow):
                    _follow(reader, block, stand_ins(page))
        finally:
            ended = reader.close() if reader is not None else {}
        assert all(code in (0, 130) for code in ended.values()), f"{_named(page)}: {ended}"
        return folder


def _follow(reader: Reader, block: Block, words: dict[str, str]) -> None:
    for on_the_page in block.commands():
        command = replace(on_the_page, text=put_in(on_the_page.text, words))
        if command.ready:
            reader.leave_running(block.options.get("background", " ".join(command.text.split()[:2])), command)
            continue
        seen = reader.type(command)
        print(f"{seen.took_s:6.1f} s  {block.place}  {command.text.splitlines()[0]}")
        told = f"{block.place}: {command.text}\n"
        assert seen.code == command.code, (
            f"{told}ended with {seen.code}, not {command.code}:\n{seen.output}\n{reader.said()}"
        )
        lost = missing(command.shown, seen.output, exact=block.is_exact)
        assert lost is None, f"{told}does not show: {lost}\nbut:\n{seen.output}"


def test_the_pages_that_are_quick_are_pages() -> None:
    assert set(QUICK) <= {_named(page) for page in pages()}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    yield Library(desk, tmp_path_factory.mktemp("pages"))
    desk.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", EACH)
def test_every_command_of_the_page_does_what_it_says(page: Path, library: Library) -> None:
    began = time.monotonic()
    library.follow(page)
    print(f"{_named(page)}: {time.monotonic() - began:.1f} s")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", [p for p in FOLLOWED if any(b.is_slow for b in blocks(p))], ids=_named)
def test_the_slow_commands_of_the_page_do_too(page: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        Library(desk, tmp_path / "pages", slowly=True).follow(page)
    finally:
        desk.close()
