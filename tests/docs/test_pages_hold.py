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

import msgspec
import pytest

from agent.__main__ import main as agent_main
from agent.settings import load_settings as load_agent
from agent.settings_keys import File as AgentFile
from cloud.__main__ import main as cloud_main
from cloud.settings import CloudSettings
from cloud.settings import load_settings as load_cloud
from tests.docs.page_blocks import (
    DOCS,
    REASONS,
    ROOT,
    WANTS,
    Block,
    anchors,
    blocks,
    every_markdown,
    links,
    pages,
    start_of,
    without_fences,
)

REAL_PARSE = argparse.ArgumentParser.parse_args
COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:sudo )?(plumbline-(?:cloud|agent)|\./scripts/\w|docker|kubectl|mosquitto|python -m)\b",
    re.MULTILINE,
)

LANGUAGES = {"sh", "console", "toml", "json", "mermaid", "text"}

BLOCKS = [block for page in pages() for block in blocks(page)]
UNRUN = [block for block in BLOCKS if block.is_shell and (block.unrun is not None or block.is_slow)]
CHECKED = [
    pytest.param(command.text, id=f"{block.place}: {command.text[:60]}")
    for block in UNRUN
    for command in block.commands()
]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.is_shell], ids=lambda block: block.place)
def test_a_fence_runs_or_says_why_not(block: Block) -> None:
    assert block.options.keys() <= {"no-run", "by", "background", "ready", "slow", "exact"}, block.options
    if block.unrun is not None:
        assert block.unrun in REASONS, f"'{block.unrun}' is none of {', '.join(REASONS)}"
        typed = [command.text for command in block.commands()]
        wanted = [re.search(WANTS.get(block.unrun, ""), each) for each in typed]
        every = block.unrun in ("root", "docker")
        assert (all if every else any)(wanted), f"nothing in it is for '{block.unrun}'"
        assert (block.unrun == "tested-elsewhere") == ("by" in block.options)
        if "by" in block.options:
            test = (ROOT / block.options["by"]).read_text("utf-8")
            for each in typed:
                name = Path(each.split()[0]).name
                # A script that only hands over is tested by what it hands over to.
                assert name in test or f"scripts.{name}" in test, f"{block.options['by']} does not run {name}"
    if "background" in block.options:
        assert "ready" in block.options and len(block.commands()) == 1
    assert block.commands(), "nothing is typed in it"
    left = [command.text for command in block.commands() if command.text.rstrip().endswith("&")]
    assert block.unrun is not None or left == [], "what is left running says by ready= when it is ready"


def test_no_command_stands_in_a_fence_that_nobody_runs() -> None:
    hidden = [block.place for block in BLOCKS if not block.is_shell and COMMAND.search(block.text)]
    # A file that is shown (a unit, a compose file) may name a command; what a reader types may not hide there.
    assert hidden == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_command_stands_outside_of_the_fences_that_are_read(page: Path) -> None:
    text = page.read_text("utf-8")
    odd = re.findall(r"^(?:[ \t]+```.*|[ \t>]*~~~.*|[ \t]*>[ \t]*```.*)$", text, re.MULTILINE)
    assert odd == [], "a fence begins at the line's beginning, with three backticks: others nobody reads here"
    prose = without_fences(text)
    assert "```" not in prose, "a fence that does not end"
    typed = [line for line in prose.splitlines() if COMMAND.match(line) or re.match(r"\s*\$ \S", line)]
    assert typed == [], "a command that is typed stands in a fence"
    assert {block.language for block in blocks(page)} <= LANGUAGES


def _inline() -> list[Any]:
    """Return every command that a page names within a sentence or a table."""
    found = []
    for page in (*pages(), ROOT / "ARCHITECTURE.md"):
        if page.name in ("api.md", "RUNBOOKS.md"):  # each has a test of its own
            continue
        prose = without_fences(page.read_text("utf-8"))
        for text in dict.fromkeys(re.findall(r"`((?:[A-Z_]+=\S+ )?plumbline-(?:cloud|agent)\b[^`]*)`", prose)):
            found.append(pytest.param(" ".join(text.split()), id=f"{page.name}: {text[:60]}"))
    return found


@pytest.mark.parametrize("line", _inline())
def test_a_command_that_is_named_in_a_sentence_is_one(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (words,) = _parts(line.replace("|", "/"))
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        del words[0]
    program, *rest = (word.split("/")[0] if word.count("/") > 1 else word for word in words)
    whole = [word for word in rest if word != "..."]
    main = cloud_main if program == "plumbline-cloud" else agent_main
    try:
        _parse(program, [re.sub(r"^[A-Z]$", "7", word) for word in whole], monkeypatch)
    except SystemExit:
        # Named without what it needs (`plumbline-cloud rollout`): then it is at least a command, with those options.
        monkeypatch.undo()
        said = capsys.readouterr().err
        assert "invalid choice" not in said and "unrecognized" not in said, said
        with pytest.raises(SystemExit) as ended:
            main([*(word for word in whole if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"), "--help"])
        assert ended.value.code == 0


def _named_keys() -> list[Any]:
    found: dict[tuple[str, str], str] = {}
    for page in pages():
        for section, key in re.findall(
            r"`\[([a-z_.]+)\](?: ([a-z_]+)(?!\*)\b)?", without_fences(page.read_text("utf-8"))
        ):
            found.setdefault((section, key), page.name)
    return [pytest.param(*each, id=f"{page}: [{each[0]}] {each[1]}") for each, page in found.items()]


EXTRAS = set(re.findall(r"^([a-z0-9-]+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize(("section", "key"), _named_keys())
def test_a_setting_that_is_named_in_a_sentence_is_one(section: str, key: str) -> None:
    for root in (AgentFile, CloudSettings):
        kind: Any = root
        for name in section.split("."):
            kind = next((f.type for f in msgspec.structs.fields(kind) if f.name == name), None)
            if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
                break
        if kind is None:
            continue
        if not key or not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return
        names = [field.name for field in msgspec.structs.fields(kind)]
        if key in names or (key.endswith("_") and any(name.startswith(key) for name in names)):
            return
    assert not key and section in EXTRAS, f"no [{section}] {key} in agent.toml or cloud.toml"


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


@pytest.mark.parametrize("page", every_markdown(), ids=lambda page: str(page.relative_to(ROOT)))
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
            running = {block.options.get("background") for block in blocks((page.parent / start[0]).resolve())}
            assert set(start[1]) <= running, page.name


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_file_of_the_project_that_is_named_is_there(page: Path) -> None:
    prose = without_fences(page.read_text("utf-8"))
    named = set(re.findall(r"`((?:agent|cloud|contract|firmware_config|scripts|tests|deploy|docs)/[\w./-]+)`", prose))
    of_the_reader = {"deploy/.env"}
    assert [name for name in sorted(named - of_the_reader) if not (ROOT / name).exists()] == []
