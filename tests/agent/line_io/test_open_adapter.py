"""A station whose controller's library is missing does not start, and says what to install: no part would ever be released."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import plc_wiring
from agent.plc_wiring import Plc
from agent.settings import load_settings
from contract.errors import InvalidConfig
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog


@pytest.mark.parametrize(("kind", "library"), [("opcua", "asyncua"), ("modbus", "pymodbus")])
def test_a_kind_whose_library_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, library: str
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'station = "s1"\nhome = "state"\n[plc]\nkind = "{kind}"\n')
    Plc(load_settings(config), HandClock(), ListLog())
    monkeypatch.setattr(plc_wiring, "find_spec", lambda name: None)
    with pytest.raises(InvalidConfig, match=library) as refused:
        Plc(load_settings(config), HandClock(), ListLog())
    assert "plumbline-edge[plc]" in refused.value.hint
