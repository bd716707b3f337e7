"""`bundle verify` and `bundle inspect` as they are called: exit code 0, or 1 and one line why."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from cloud.__main__ import main
from cloud.registry.bundle import build_bundle
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry, release
from cloud.registry.vouching import vouched_for
from contract.errors import BadBundle, NotFound
from tests.cloud.registry.test_bundle_contents import content
from tests.tiny_bundle import write_bundle

NOW = 1_795_200_000.0
DAY = 86400.0


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(registry, keys, bundle archive, its digest)"""
    folder = tmp_path_factory.mktemp("vouched")
    registry, keys = Registry(folder / "registry"), init_keys(folder / "keys")
    version = release(content(folder / "c"), registry, keys, NOW)
    return registry, keys, registry.blobs.path(version.digest), version.digest


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["bundle", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def ask(released: Any, *, now: float = NOW, metadata: Path | None = None, root: Path | None = None) -> Any:
    registry, _, archive, digest = released
    folder = metadata or registry.tuf_folder / "metadata"
    return vouched_for(
        digest, archive.stat().st_size, root or registry.tuf_folder / "metadata/1.root.json", folder, now
    )


def copy_of(released: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released[0].tuf_folder / "metadata", tmp_path / "metadata"))


def test_a_released_bundle_is_vouched_for_by_name_and_version(released: Any) -> None:
    vouched = ask(released)
    assert (vouched.root_version, vouched.targets_version, vouched.released_as) == (1, 2, "1")


def test_later_metadata_vouches_for_it_still(released: Any, tmp_path: Path) -> None:
    registry, keys, _, _ = released
    later = Registry(Path(shutil.copytree(registry.folder, tmp_path / "registry")))
    assert later.tuf(keys).refresh_online(NOW + 10 * DAY)
    assert (
        ask(released, now=NOW + 10 * DAY, metadata=later.tuf_folder / "metadata").timestamp_version
        > ask(released).timestamp_version
    )


def test_expired_metadata_vouches_for_nothing(released: Any) -> None:
    with pytest.raises(BadBundle, match="expired"):
        ask(released, now=NOW + 40 * DAY)


def test_a_bundle_that_was_never_released_is_not_vouched_for(released: Any) -> None:
    registry, _, _, _ = released
    folder = registry.tuf_folder / "metadata"
    with pytest.raises(BadBundle, match="not among those vouched for"):
        vouched_for("ab" * 32, 5, folder / "1.root.json", folder, NOW)


def test_the_right_digest_of_another_size_is_not_what_is_vouched_for(released: Any) -> None:
    registry, _, _, digest = released
    folder = registry.tuf_folder / "metadata"
    with pytest.raises(BadBundle, match="another hash or size"):
        vouched_for(digest, 5, folder / "1.root.json", folder, NOW)


def test_a_foreign_root_finds_nothing_signed(released: Any, tmp_path: Path) -> None:
    foreign = Registry(tmp_path / "foreign")
    foreign.tuf(init_keys(tmp_path / "keys")).create(NOW)
    with pytest.raises(BadBundle, match="not signed under"):
        ask(released, root=foreign.tuf_folder / "metadata/1.root.json")


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.root.json"])
def test_metadata_changed_by_a_byte_vouches_for_nothing(released: Any, tmp_path: Path, name: str) -> None:
    metadata = copy_of(released, tmp_path)
    data = (metadata / name).read_bytes()
    place = data.index(b'"sig"') + 10
    (metadata / name).write_bytes(data[:place] + (b"0" if data[place] != 48 else b"1") + data[place + 1 :])
    root = metadata / name if name == "1.root.json" else None
    with pytest.raises(BadBundle):
        ask(released, metadata=metadata, root=root)


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_missing_metadata_is_said_to_be_missing(released: Any, tmp_path: Path, name: str) -> None:
    metadata = copy_of(released, tmp_path)
    (metadata / name).unlink()
    with pytest.raises(NotFound):
        ask(released, metadata=metadata)


@pytest.mark.parametrize("root", [b"", b"{}", b"\xff\xfe", b'{"signed": 3}'])
def test_what_is_no_root_is_refused(released: Any, tmp_path: Path, root: bytes) -> None:
    (tmp_path / "root.json").write_bytes(root)
    with pytest.raises(BadBundle, match="not signed under"):
        ask(released, root=tmp_path / "root.json")


def test_verify_says_whole_and_how_far_off_the_golden_answers_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, digest = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    code, out, _ = run(capsys, "verify", str(path), "--selftest")
    assert code == 0 and digest in out and "self-test: 3 inputs, at most" in out
    code, out, _ = run(capsys, "verify", str(path), "--selftest", "--json")
    assert code == 0 and json.loads(out)["selftest"]["inputs"] == 3 and json.loads(out)["digest"] == digest


def test_verify_without_golden_scores_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", str(write_bundle(tmp_path / "b.plb")), "--selftest")
    assert code == 0 and "no golden scores to compare with" in out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:300], "ends early"),
        (lambda data: b"x" * 4096, "not ustar"),
        (lambda data: data + b"\0", "holds more than its manifest lists"),
        (lambda data: data[:-2000], "ends"),
        (lambda data: data.replace(b"golden", b"goldem", 1), "needs 'golden.npz' but does not list it"),
        (lambda data: data.replace(b'"manifest_version": 1', b'"manifest_version": 2'), "manifest version 2"),
        (
            lambda data: data[: data.rindex(b"weights")] + b"weightz" + data[data.rindex(b"weights") + 7 :],
            "'model.onnx' does not",
        ),
        (lambda data: b"", "ends early"),
    ],
)
def test_every_kind_of_damage_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, said: str
) -> None:
    path, _ = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    path.write_bytes(spoil(path.read_bytes()))
    for action in ("verify", "inspect"):
        code, out, err = run(capsys, action, str(path))
        assert code == 1 and not out and err.count("\n") == 1 and said in err and str(path) in err


def test_verify_that_fails_says_only_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = build_bundle(content(tmp_path / "c", golden_error=0.5), tmp_path / "b.plb", 0.0)
    code, out, err = run(capsys, "verify", str(path), "--selftest")
    assert code == 1 and not out and "0.5 off its golden scores" in err and err.count("\n") == 1
    code, _, err = run(capsys, "verify", str(path), "--root", "root.json")
    assert code == 1 and "--root and --metadata go together" in err
    code, _, err = run(capsys, "verify", str(tmp_path / "none.plb"))
    assert code == 1 and "no bundle" in err


def test_verify_asks_the_repository_that_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry, keys = Registry(tmp_path / "registry"), init_keys(tmp_path / "keys")
    version = release(content(tmp_path / "c"), registry, keys, time.time())
    metadata = registry.tuf_folder / "metadata"
    words = ("--root", str(metadata / "1.root.json"), "--metadata", str(metadata))
    code, out, _ = run(capsys, "verify", str(registry.blobs.path(version.digest)), *words)
    assert code == 0 and "vouched for: released as 1, targets version 2" in out
    other, _ = build_bundle(content(tmp_path / "d", more=b"x"), tmp_path / "other.plb", 0.0)
    code, out, err = run(capsys, "verify", str(other), *words)
    assert code == 1 and not out and "not among those vouched for" in err


def test_inspect_shows_what_a_bundle_has_and_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = build_bundle(content(tmp_path / "c"), tmp_path / "b.plb", 0.0)
    code, out, _ = run(capsys, "inspect", str(path))
    assert code == 0
    for said in ("1 piece ", "scores may be 0.01 off", "no report in it", "machines any", "bytes on the disk"):
        assert said in out
    code, out, err = run(capsys, "inspect", str(path), "--card")
    assert code == 1 and "no model card" in err
    code, out, _ = run(capsys, "inspect", str(path), "--json")
    assert json.loads(out)["manifest"]["name"] == "tiny" and json.loads(out)["pieces"] == 2
