"""`bundle inspect` and `bundle verify` of a folder that a bundle was unpacked into: what they say of the archive it came from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.slots.unpacked import open_archive
from cloud.__main__ import main
from cloud.registry.bundle import build_bundle
from tests.cloud.registry.test_bundle_contents import content

CARD = "# A model card\n\nwhat it is for\n"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["bundle", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """Return an archive with a card, and a station's slot that it was unpacked into."""
    said = replace(content(tmp_path / "c", card_md=CARD.encode()), model_card="card.md")
    archive, digest = build_bundle(said, tmp_path / "b.plb", 1_795_200_000.0)
    slot = tmp_path / "bundles" / digest
    assert open_archive(archive, slot).digest == digest
    return archive, slot


def test_a_slot_says_what_its_archive_says(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    archive, slot = made
    for words in (("inspect",), ("inspect", "--json"), ("inspect", "--card")):
        of_archive, of_slot = (run(capsys, words[0], str(path), *words[1:]) for path in (archive, slot))
        assert of_slot == of_archive and of_slot[0] == 0
    assert run(capsys, "inspect", str(slot), "--card")[1] == CARD
    code, out, _ = run(capsys, "verify", str(slot), "--json")
    assert code == 0 and json.loads(out) == {
        "bundle": str(slot), "digest": slot.name, "size_bytes": archive.stat().st_size
    }  # fmt: skip


def test_a_slot_that_was_changed_is_found_out(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, slot = made
    card = slot / "card.md"
    card.write_bytes(CARD.upper().encode())
    assert run(capsys, "inspect", str(slot), "--card")[::2][0] == 1
    card.write_bytes(CARD.encode() + b"more")
    code, _, err = run(capsys, "inspect", str(slot), "--card")
    assert code == 1 and "card.md" in err and "Traceback" not in err
    card.unlink()
    code, _, err = run(capsys, "verify", str(slot))
    assert code == 1 and "card.md cannot be read" in err


def test_a_folder_that_is_no_slot_says_what_to_give(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "inspect", str(made[1].parent), "--card")
    assert code == 1 and "holds no manifest.json" in err and "HOME/bundles/DIGEST" in err
    (made[1] / "manifest.json").write_bytes(b"{}")
    code, _, err = run(capsys, "inspect", str(made[1]))
    assert code == 1 and str(made[1]) in err
