"""From [plc] to an adapter: the right one, with what the settings say; one without its library says what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.line_io.desk import Desk
from agent.plc_wiring import open_adapter
from agent.settings import load_settings
from contract.errors import InvalidConfig
from tests.fakes.agent_line import ListLog


def test_a_kind_whose_library_is_missing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('station = "s1"\nhome = "state"\n[plc]\nkind = "opcua"\n')
    for name in [name for name in sys.modules if name.startswith(("asyncua", "agent.line_io.opcua"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncua", None)
    with pytest.raises(InvalidConfig, match="asyncua") as refused:
        open_adapter(load_settings(config), Desk.__new__(Desk), ListLog())
    assert "plumbline-edge[plc]" in refused.value.hint
