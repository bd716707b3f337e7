"""Every command of docs/ and of the README is typed, in its page's order, against a real plant."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.page_blocks import DOCS, Block, blocks, brought, pages, start_of
from tests.docs.reader import Desk, Reader, missing
from tests.tiny_tflite import tflite_bytes

BRINGS = {"model.tflite": lambda: tflite_bytes(side=32)}
"""What a reader has of his own before he comes, by its name on the page."""

FOLLOWED = [page for page in pages() if any(block.is_shell and block.unrun is None for block in blocks(page))]


class Library:
    """The folders that pages left, made when a page asks for them: each page is followed once."""

    def __init__(self, desk: Desk, folder: Path, *, slowly: bool = False) -> None:
        self._desk, self._folder, self._slowly = desk, folder, slowly
        self._done: dict[str, Path | str] = {}

    def follow(self, page: Path) -> Path:
        """Follow a page and return its folder; a page that failed fails again, without a second try."""
        if page.name not in self._done:
            try:
                self._done[page.name] = self._first_time(page)
            except AssertionError as error:
                self._done[page.name] = str(error)
                raise
        left = self._done[page.name]
        assert isinstance(left, Path), f"{page.name} does not hold: {left[:300]}"
        return left

    def _first_time(self, page: Path) -> Path:
        folder = self._folder / page.stem
        start = start_of(page)
        reader: Reader | None = None
        try:
            if start is not None:
                before = DOCS / start[0]
                shutil.copytree(self.follow(before), folder, symlinks=True)
                reader = Reader(self._desk, folder)
                running = {each.options["background"]: each for each in blocks(before) if "background" in each.options}
                for name in start[1]:
                    reader.leave_running(running[name])
            reader = reader or Reader(self._desk, folder)
            for name in brought(page):
                (folder / name).write_bytes(BRINGS[name]())
            for block in blocks(page):
                if block.is_shell and block.unrun is None and (self._slowly or not block.is_slow):
                    _follow(reader, block)
        finally:
            ended = reader.close() if reader is not None else {}
        assert all(code in (0, 130) for code in ended.values()), f"{page.name}: {ended}"
        return folder


def _follow(reader: Reader, block: Block) -> None:
    if "background" in block.options:
        reader.leave_running(block)
        return
    for command in block.commands():
        seen = reader.type(command)
        print(f"{seen.took_s:6.1f} s  {block.place}  {command.text.splitlines()[0]}")
        told = f"{block.place}: {command.text}\n"
        assert seen.code == command.code, (
            f"{told}ended with {seen.code}, not {command.code}:\n{seen.output}\n{reader.said()}"
        )
        lost = missing(command.shown, seen.output, exact=block.is_exact)
        assert lost is None, f"{told}does not show: {lost}\nbut:\n{seen.output}"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    yield Library(desk, tmp_path_factory.mktemp("pages"))
    desk.close()


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_every_command_of_the_page_does_what_it_says(page: Path, library: Library) -> None:
    began = time.monotonic()
    library.follow(page)
    print(f"{page.name}: {time.monotonic() - began:.1f} s")


@pytest.mark.long
@pytest.mark.parametrize("page", [p for p in FOLLOWED if any(b.is_slow for b in blocks(p))], ids=lambda page: page.name)
def test_the_slow_commands_of_the_page_do_too(page: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        Library(desk, tmp_path / "pages", slowly=True).follow(page)
    finally:
        desk.close()
