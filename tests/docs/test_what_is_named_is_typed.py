"""Every command of the two programs is typed by a page's reader, or run by a test that is named here; so is every script."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.page_blocks import ROOT, blocks, every_markdown, pages

OWN_TESTS = {
    "plumbline-agent config schema": "tests/agent/test_settings_schema.py",
    "plumbline-agent enrol": "tests/agent/commands/test_enrol_command.py",
    "plumbline-agent selftest": "tests/agent/slots/test_selftest.py",
    "plumbline-cloud config clear": "tests/e2e/test_configuration.py",
    "plumbline-cloud curve": "tests/cloud/retrain/test_curve.py",
    "plumbline-cloud database upgrade": "tests/cloud/commands/test_database_command.py",
    "plumbline-cloud dead show": "tests/cloud/commands/test_dead_command.py",
    "plumbline-cloud keys pending": "tests/cloud/commands/test_keys_commands.py",
    "plumbline-cloud keys publish": "tests/cloud/commands/test_keys_commands.py",
    "plumbline-cloud keys sign": "tests/cloud/commands/test_keys_commands.py",
    "plumbline-cloud mirror": "tests/cloud/registry/test_mlflow_mirror.py",
    "plumbline-cloud provision rotate-ca": "tests/cloud/provision/test_rotation_killed.py",
    "plumbline-cloud review export": "tests/cloud/commands/test_labels_as_table.py",
    "plumbline-cloud review import": "tests/cloud/commands/test_review_command.py",
    "plumbline-cloud review resolve": "tests/cloud/commands/test_review_command.py",
    "plumbline-cloud review return": "tests/cloud/commands/test_review_command.py",
    "plumbline-cloud rollout ab conclude": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout ab report": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout ab start": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout approve": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout pause": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout reject": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout resume": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout rollback": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud rollout watch": "tests/cloud/commands/test_rollout_command.py",
    "plumbline-cloud token sessions": "tests/cloud/commands/test_token_command.py",
    "plumbline-cloud version alias": "tests/cloud/commands/test_version_command.py",
    "plumbline-cloud version retire": "tests/cloud/commands/test_version_command.py",
    "plumbline-cloud version unretire": "tests/cloud/commands/test_version_command.py",
}
"""The file whose tests run a command that no page has anybody type."""

SCRIPTS = {
    "bench": "tests/scripts/test_line_bench.py",
    "capacity": "tests/scripts/test_capacity.py",
    "demo": "tests/e2e/test_demo.py",
    "draw_api": "tests/docs/test_api_page.py",
    "draw_states": "tests/test_state_diagrams.py",
    "install-agent": "tests/e2e/test_install_agent.py",
    "list_leaves": "tests/scripts/test_what_leaves.py",
    "lock": "tests/deploy/test_locks.py",
    "release": "tests/scripts/test_release.py",
    "setup": "tests/scripts/test_setup_script.py",
    "simulate_fleet": "tests/scripts/test_simulate_fleet.py",
}
"""The file whose tests run a script that pages name: each takes minutes, root or the repository's own folder."""

RUN_THE_TESTS = {"browser", "check", "fix", "promtool", "test"}

_CALLED = re.compile(r"plumbline-(?:cloud|agent)(?: [a-z][\w-]*){1,3}(?![\w-])")


@cache
def commands() -> frozenset[tuple[str, ...]]:
    """Return every command as its words: ("plumbline-cloud", "keys", "status")."""
    found = set[tuple[str, ...]]()
    for program, package in (("plumbline-cloud", "cloud"), ("plumbline-agent", "agent")):
        subparsers = argparse.ArgumentParser(prog=program).add_subparsers()
        known = vars(importlib.import_module(f"{package}.__main__"))
        for name in known.get("COMMANDS") or known["_COMMANDS"]:
            importlib.import_module(f"{package}.commands.{name}").register(subparsers)
        for name, parser in subparsers._name_parser_map.items():
            found |= set(_leaves((program, name), parser))
    return frozenset(found)


def _leaves(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    within = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not within:
        yield words
    for action in within:
        for name, child in action._name_parser_map.items():
            yield from _leaves((*words, name), child)


@cache
def typed() -> frozenset[tuple[str, ...]]:
    """Return the commands that the tests of pages type."""
    found = set[tuple[str, ...]]()
    for page in (*pages(), ROOT / "tests/docs/plant_of_the_runbooks.md"):
        for block in blocks(page):
            if not block.is_shell or block.unrun is not None:
                continue
            for command in block.commands():
                for line in _CALLED.findall(command.text.partition("  #")[0]):
                    words = line.split()
                    found |= {tuple(words[:length]) for length in (2, 3, 4)} & commands()
                    # `provision NAME` is `provision station NAME`.
                    if words[1] == "provision" and not any(each[:3] == tuple(words[:3]) for each in commands()):
                        found.add(("plumbline-cloud", "provision", "station"))
    return frozenset(found)


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_a_command_is_typed_or_has_a_test_of_its_own(words: tuple[str, ...]) -> None:
    called = " ".join(words)
    if words in typed():
        assert called not in OWN_TESTS, "a page types it by now"
        return
    assert called in OWN_TESTS, "no page has it typed, and no test of its own is named here"
    text = (ROOT / OWN_TESTS[called]).read_text("utf-8")
    assert all(f'"{word}"' in text for word in words[1:]), f"{OWN_TESTS[called]} does not run it"


def test_what_has_a_test_of_its_own_is_a_command_of_today() -> None:
    assert {tuple(called.split()) for called in OWN_TESTS} <= commands()


def test_a_script_that_is_named_has_a_test_of_its_own() -> None:
    named = set[str]()
    for page in every_markdown():
        if page.name not in ("CHANGELOG.md", "DECISIONS.md"):  # what was so once
            text = page.read_text("utf-8")
            named |= {a or b for a, b in re.findall(r"\./scripts/([\w-]+)|\bscripts\.([a-z]\w*)", text)}
    assert named == SCRIPTS.keys() | RUN_THE_TESTS
    for name, file in SCRIPTS.items():
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"scripts.*\b{name}\b|\"{name}\"", text), f"{file} does not run {name}"
