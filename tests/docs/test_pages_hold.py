"""docs/: no command is left unrun without a reason, what cannot run parses, links lead somewhere, settings and answers load."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from agent.__main__ import main as agent_main
from agent.settings import load_settings as load_agent
from cloud.__main__ import main as cloud_main
from cloud.settings import load_settings as load_cloud
from tests.docs.page_blocks import DOCS, REASONS, ROOT, Block, anchors, blocks, links, pages, start_of

REAL_PARSE = argparse.ArgumentParser.parse_args
COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:sudo )?(plumbline-(?:cloud|agent)|\./scripts/\w|docker|kubectl|mosquitto|python -m)\b",
    re.MULTILINE,
)

ELSEWHERE = {"RUNBOOKS.md", "README.md"}
"""Pages whose fences have no language: their commands are parsed here, and the runbooks have a test of their own besides."""

BLOCKS = [block for page in pages() for block in blocks(page)]
UNRUN = [block for block in BLOCKS if block.is_shell and (block.unrun is not None or block.is_slow)]
OLD = [
    block for block in BLOCKS if block.language == "" and block.page.name in ELSEWHERE and COMMAND.search(block.text)
]
CHECKED = [
    pytest.param(line, id=f"{block.place}: {line[:60]}")
    for block in (*UNRUN, *OLD)
    for line in (
        [c.text for c in block.commands()]
        if block.is_shell
        else [x for x in block.text.splitlines() if COMMAND.match(x)]
    )
]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.is_shell], ids=lambda block: block.place)
def test_a_fence_runs_or_says_why_not(block: Block) -> None:
    assert block.options.keys() <= {"no-run", "background", "ready", "slow"}, block.options
    if block.unrun is not None:
        assert block.unrun in REASONS, f"'{block.unrun}' is none of {', '.join(REASONS)}"
    if "background" in block.options:
        assert "ready" in block.options and len(block.commands()) == 1
    assert block.commands(), "nothing is typed in it"


def test_no_command_stands_in_a_fence_that_nobody_runs() -> None:
    hidden = [b.place for b in BLOCKS if not b.is_shell and COMMAND.search(b.text) and b.page.name not in ELSEWHERE]
    # A file that is shown (a unit, a compose file) may name a command; what a reader types may not hide there.
    assert hidden == []


def test_unrun_fences_are_few_and_counted() -> None:
    ran = [block for block in BLOCKS if block.is_shell and block.unrun is None]
    assert len(ran) > 2 * len(UNRUN), f"{len(ran)} run, {len(UNRUN)} do not: {Counter(b.unrun for b in UNRUN)}"


def _parse(program: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def parse(self: argparse.ArgumentParser, given: Any = None, namespace: Any = None) -> argparse.Namespace:
        parsed.append(REAL_PARSE(self, given, namespace))
        return argparse.Namespace(run=lambda _: 0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    assert (cloud_main if program == "plumbline-cloud" else agent_main)(words) == 0 and parsed


def _parts(line: str) -> list[list[str]]:
    """Return the words of each command of a line, without redirections and remarks."""
    lexer = shlex.shlex(re.sub(r"\$\([^)]*\)", "X", line.replace("\\\n", " ")), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        elif set(word) <= set("<>"):
            lexer.get_token()
        else:
            found[-1].append(word)
    return found


@pytest.mark.parametrize("line", CHECKED)
def test_what_cannot_run_is_at_least_a_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0
    for words in _parts(line):
        while words and (words[0] in ("sudo", "exec") or re.fullmatch(r"\w+=\S*", words[0])):
            del words[0]
        if not words:
            continue
        program = words[0].removeprefix(".venv/bin/")
        if program in ("plumbline-cloud", "plumbline-agent"):
            alternatives = [word.split("|")[0].replace("...", "x") for word in words[1:]]
            if "--help" not in alternatives and not any(word == "x" for word in alternatives):
                _parse(program, alternatives, monkeypatch)
        elif program.startswith("./scripts/"):
            assert (ROOT / program).is_file(), program
            first = (ROOT / program).read_text("utf-8").splitlines()[0]
            assert (
                "bash" not in first or subprocess.run(["bash", "-n", str(ROOT / program)], check=False).returncode == 0
            )
        elif program in ("docker", "kubectl"):
            for before, word in pairwise(words):
                if before in ("-f", "--file", "-k"):
                    assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", [*pages(), ROOT / "ARCHITECTURE.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        file, _, anchor = unquote(target).partition("#")
        to = (page.parent / file).resolve() if file else page
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), f"{target}: {to.name} has {sorted(anchors(to))}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml"], ids=lambda block: block.place)
def test_settings_that_are_shown_load(block: Block, tmp_path: Path) -> None:
    if block.options.get("for") == "cloud":
        (tmp_path / "cloud.toml").write_text(block.text)
        load_cloud(tmp_path / "cloud.toml")
        return
    text = block.text if "station =" in block.text else 'station = "line3-cam1"\nhome = "state"\n' + block.text
    (tmp_path / "agent.toml").write_text(text)
    load_agent(tmp_path / "agent.toml")


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "json"], ids=lambda block: block.place)
def test_answers_that_are_shown_parse(block: Block) -> None:
    json.loads(block.text)


def test_the_index_names_every_page_and_each_start_is_one() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    for page in sorted(DOCS.glob("*.md")):
        assert page.name == "README.md" or f"({page.name}" in index, page.name
        start = start_of(page)
        if start is not None:
            running = {block.options.get("background") for block in blocks(DOCS / start[0])}
            assert set(start[1]) <= running, page.name
