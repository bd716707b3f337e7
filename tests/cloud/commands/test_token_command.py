"""plumbline-cloud token, against the real application."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from cloud.__main__ import main
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeApp]:
    yield from open_whole_app(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def run(whole: WholeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    # The home's own config names a port that nobody listens at: the test serves elsewhere, and without TLS.
    config = tmp_path / "cloud.toml"
    port = whole.url.rsplit(":", 1)[1]
    config.write_text(f'home = "{whole.settings.path(".")}"\n[api]\nport = {port}\n')

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["token", *map(str, words), "--config", str(config)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_token_is_made_shown_once_listed_and_revoked(whole: WholeApp, run: Run) -> None:
    code, out, _ = run("add", "eva", "--role", "engineer", "--days", "90")
    assert code == 0 and "eva (engineer)" in out and "shown this once" in out
    token = out.splitlines()[1]
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(token)).json()["person"] == "eva"
    code, out, _ = run("list")
    assert code == 0 and token not in out
    row = next(line for line in out.splitlines() if " eva " in line)
    number = row.split()[0]
    assert "engineer" in row and "operator" in row and "until 20" in row
    assert run("revoke", number)[:2] == (0, f"token {number} opens nothing any more\n")
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(token)).status_code == 401
    assert "revoked 20" in run("list")[1]
    made = json.loads(run("add", "max", "--role", "viewer", "--json")[1])
    assert made["token"].startswith("plt_") and made["expires_at"] is None
    listed = json.loads(run("list", "--json")[1])
    assert listed[-1]["person"] == "max" and "token" not in listed[-1] and "sha256" not in listed[-1]
    assert json.loads(run("revoke", made["id"], "--json")[1]) == {"revoked": made["id"]}


def test_what_cannot_be_done_is_one_line(run: Run) -> None:
    for words, told in (
        (("revoke", "999"), "no token 999"),
        (("add", "plumbline", "--role", "viewer"), "nobody's name"),
        (("add", "<b>", "--role", "viewer"), "body.person"),
        (("add", "eva", "--role", "viewer", "--days", "-1"), "body.days"),
        (("sessions", "--end", "0" * 16), "no open session"),
    ):
        code, _, error = run(*words)
        assert code == 1 and told in error and error.count("\n") == 1
    with pytest.raises(SystemExit):
        run("add", "eva", "--role", "emperor")


def test_sessions_are_listed_and_ended(whole: WholeApp, run: Run) -> None:
    made = json.loads(run("add", "ida", "--role", "viewer", "--json")[1])
    assert httpx.post(f"{whole.url}/sign-in", data={"token": made["token"]}).status_code == 303
    (mine,) = [each for each in json.loads(run("sessions", "--json")[1]) if each["person"] == "ida"]
    assert mine["id"] in run("sessions")[1]
    assert run("sessions", "--end", mine["id"])[1] == f"session {mine['id']} is over\n"
    assert mine["id"] not in run("sessions")[1]


def test_a_persons_own_token_file_makes_the_act_theirs(
    whole: WholeApp, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads(run("add", "ole", "--role", "admin", "--json")[1])
    file = tmp_path / "ole.token"
    file.write_text(made["token"] + "\n")
    monkeypatch.setenv("PLUMBLINE_TOKEN_FILE", str(file))
    assert run("add", "kai", "--role", "viewer")[0] == 0
    last = whole.tables.audit.entries()[-1]
    assert (last.actor, last.act) == ("ole", "token made")
    file.unlink()
    code, _, error = run("list")
    assert code == 1 and "ole.token" in error
