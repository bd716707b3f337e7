"""A change of authority, killed before each of its writes and deletions and done again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.provision import folder as folder_module
from cloud.provision.folder import ProvisionFolder
from tests.fixtures_broker import free_port


class Killed(BaseException):
    """Stands for a kill: nothing in the product catches it."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rotation") / "plant"
    ports = ["--broker-port", str(free_port()), "--api-port", str(free_port())]
    assert main(["init", "--home", str(made), "--secure", *ports]) == 0
    return made


@pytest.fixture
def kill_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    write, fsync, left = folder_module.write_durably, folder_module.fsync_folder, [10_000]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    def counted_write(path: Path, chunks: tuple[bytes, ...], *, mode: int = 0o644) -> None:
        count()
        write(path, chunks, mode=mode)

    def counted_fsync(path: Path) -> None:
        count()
        fsync(path)

    monkeypatch.setattr(folder_module, "write_durably", counted_write)
    monkeypatch.setattr(folder_module, "fsync_folder", counted_fsync)
    yield lambda writes: left.__setitem__(0, writes)


def _rotate(home: Path, *words: str) -> int:
    return main(["provision", "rotate-ca", *words, "--config", str(home / "cloud.toml")])


def _killed(home: Path, *words: str) -> bool:
    """Return whether the command was killed before it came to its end."""
    try:
        assert _rotate(home, *words) == 0
    except Killed:
        return True
    return False


# Two of them leave key and certificate of two authorities behind where nothing else is kept; all take long.
@pytest.mark.parametrize("writes", [3, 4, *(pytest.param(n, marks=pytest.mark.long) for n in (0, 1, 2, *range(5, 16)))])
def test_killed_at_any_write_either_step_is_ended_by_doing_it_again(
    plant: Path, tmp_path: Path, kill_before: Callable[[int], None], writes: int
) -> None:
    first = ProvisionFolder(plant / "provision").authority().fingerprint
    home = tmp_path / "home"
    shutil.copytree(plant, home)
    folder = ProvisionFolder(home / "provision")
    kill_before(writes)
    begun = _killed(home)
    kill_before(10_000)
    if begun:
        _rotate(home)  # refused where nothing but the sync of a deletion was left
    assert folder.authority("old-ca").fingerprint == first != folder.authority().fingerprint
    assert folder.trust.read_bytes() == b"".join(each.pem for each in folder.issuing())
    assert folder.crl.read_text().count("BEGIN X509 CRL") == 2
    assert _rotate(home) == 1  # the other step's turn
    kill_before(writes)
    finished = _killed(home, "--finish")
    kill_before(10_000)
    if finished:
        _rotate(home, "--finish")
    assert folder.trust.read_bytes() == folder.authority().pem == (folder.broker / "ca.pem").read_bytes()
    assert not [*folder.path.glob("old-ca.*"), *folder.path.glob("gone-ca.*"), *folder.path.glob("next-ca.*")]
    assert (begun, finished) != (False, False) or writes > 8
