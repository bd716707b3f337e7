"""What an order may set: every key was decided on, mistakes name the order's line, and no text ever moves a forbidden key."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ports.policy import ImagesLeave
from agent.settings import Settings, load_settings
from agent.settings_keys import File
from agent.update.config_keys import KEYS, NEVER
from contract.errors import InvalidConfig

LOCAL = (
    'station = "s1"\nhome = "state"\n[policy]\nimages_leave = "unsure"\n[line]\ndeadline_ms = 150.0\n'
    '[cloud]\nurl = "http://c"\n[trust]\nroot = "root.json"\norder_keys = ["order.pub"]\n[limits]\nsamples = 100\n'
)
SECTIONS = {field.name: field.type for field in msgspec.structs.fields(File)}


def all_keys() -> set[str]:
    found = set()
    for name, kind in SECTIONS.items():
        table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        found |= {f"{name}.{field.name}" for field in msgspec.structs.fields(kind)} if table else {name}
    return found


def load(folder: Path, remote: str, local: str = LOCAL) -> Settings:
    path = folder / "agent.toml"
    path.write_text(local)
    return load_settings(path, remote)


def refused(folder: Path, remote: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(folder, remote)
    line = caught.value.one_line()
    assert "\n" not in line
    return line


def test_it_was_decided_of_every_key_whether_an_order_may_set_it() -> None:
    never = {key for key in all_keys() if key in NEVER or key.partition(".")[0] in NEVER}
    assert never.isdisjoint(KEYS)
    assert never | set(KEYS) == all_keys()
    assert all(key in all_keys() or key in SECTIONS for key in NEVER)


def test_an_order_lies_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, 'line.queue = 3\n[windows]\nframes = 64\n[policy]\nimages_leave = "never"\n')
    assert settings.windows.frames == 64 and settings.line.queue == 3
    assert settings.line.deadline_ms == 150.0, "a table that both have keeps the file's other keys"
    assert settings.windows.seconds == 60.0
    assert settings.policy.images_leave is ImagesLeave.NEVER
    assert load(tmp_path, "") == load(tmp_path, "# nothing\n")


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ('\nstation = "s2"\n', ["remote settings' line 2", "'station'", "who the station is"]),
        ('home = "/tmp"\n', ["line 1", "'home'"]),
        ('[line]\nqueue = 3\n[trust]\norder_keys = ["mine.pub"]\n', ["line 3", "'trust'"]),
        ('[cloud]\nurl = "http://thief"\n', ["'cloud'", "kept images"]),
        ('[source]\npipeline = "x ! filesink"\n', ["line 2", "'source.pipeline'"]),
        ('source.kind = "folder"\n', ["line 1", "'source.kind'"]),
        ('[[models]]\nname = "m"\nbundle = "m.plb"\n', ["'models'", "image keys"]),
        ('[policy]\nimages_leave = "requested"\n', ["line 2", "policy.images_leave", "'unsure'", "stricter"]),
        ("[policy]\nfallback = true\n", ["policy.fallback", "switch it on"]),
        ("[windows]\nsketch = false\n", ["windows.sketch", "switch it off"]),
        ("[line]\nfrozen_after = 0\n", ["line.frozen_after", "switch it off"]),
        ("[line]\ndeadline_ms = 150.5\n", ["line.deadline_ms", "150", "lower"]),
        ("[line]\nfrozen_after = 9007199254740991\n", ["line.frozen_after", "5", "raise"]),
        ("[line]\nfrozen_after = -1\n", ["line.frozen_after", "switch it off"]),
        ("[line]\nblank_sd = -1e9\n", ["line.blank_sd", "0.5", "raise"]),
        ("[line]\nunfamiliar = 0\n", ["line.unfamiliar", "0.001", "raise"]),
        ("[line]\nunfamiliar = 0.5\n", ["line.unfamiliar", "0.1"]),
        ("[line]\nwedged_s = 3600.0\n", ["line.wedged_s", "10", "lower"]),
        ("[line]\nqueue = 1000000\n", ["line.queue", "factor of 8"]),
        ("[source]\nstall_s = 3600\n", ["source.stall_s", "5"]),
        ("[source]\nstall_s = 0\n", ["source.stall_s", "switch it off"]),
        ("[windows]\nframes = 1\n", ["windows.frames", "factor of 8"]),
        ("[windows]\nseconds = 1e9\n", ["windows.seconds", "factor of 8"]),
        ("[enrol]\nframes = 9007199254740991\n", ["enrol.frames", "factor of 8"]),
        ("[enrol]\nframes = 1\n", ["enrol.frames", "factor of 8"]),
        ("[degrade]\nenabled = false\n", ["degrade.enabled", "switch it off"]),
        ("[degrade]\nhot_c = 300.0\n", ["degrade.hot_c", "board"]),
        ("[policy]\naudit_rate = 0.0\n", ["policy.audit_rate", "raise"]),
        ("[broker]\nreconnect_max_s = 1e9\n", ["broker.reconnect_max_s", "factor of 8"]),
        ("[limits]\nsamples = 99\n", ["limits.samples", "deletes"]),
        ("[limits]\ndisk_mib = 9007199254740991\n", ["limits.disk_mib", "disk"]),
        ('[broker]\nhost = ""\n', ["broker.host", "reached"]),
        (
            '[broker]\nhost = "thief.example"\n',
            ["line 2", "broker.host", "127.0.0.1", "thief.example", "allowed_hosts"],
        ),
        ('[broker]\nhost = "10.0.0.9"\nallowed_hosts = ["10.0.0.9"]\n', ["line 3", "broker.allowed_hosts"]),
        ("[line]\n\nqueue = 0\n", ["remote settings' line 3", "line.queue must be above 0"]),
        ('[line]\nqueue = "long"\n', ["'remote settings' (line 2)", "line.queue", "expected `int`"]),
        ('line.queue = "long"\n', ["'remote settings' (line 1)", "line.queue"]),
        ("[line]\nquee = 2\n", ["'remote settings' line 2", "did you mean 'queue'"]),
        ("[line]\ndeadline_ms = nan\n", ["line.deadline_ms"]),
        ("[degrade]\nbattery = inf\n", ["degrade.battery", "no number"]),
        ("[windows]\nframes = 99999999999999999999\n", ["windows.frames", "no number"]),
        ("line = 3\n", ["'remote settings'", "line"]),
        ("[line\n", ["'remote settings' is no TOML"]),
        ("a = " + "[" * 5000, ["'remote settings' is no TOML"]),
        ("\ud800 = 1\n", ["remote settings"]),
    ],
)
def test_what_an_order_must_not_set_is_refused_with_the_key_and_its_line(
    tmp_path: Path, remote: str, words: list[str]
) -> None:
    line = refused(tmp_path, remote)
    for word in words:
        assert word in line, line


def test_an_order_chooses_a_broker_only_among_those_that_the_file_lists(tmp_path: Path) -> None:
    listing = LOCAL + '[broker]\nhost = "a"\nallowed_hosts = ["b"]\n'
    assert load(tmp_path, '[broker]\nhost = "b"\nport = 1884\n', listing).broker.host == "b"
    assert load(tmp_path, '[broker]\nhost = "a"\n', listing).broker.host == "a"
    for remote in ("c", "127.0.0.1", ""):
        with pytest.raises(InvalidConfig, match=r"broker\.host"):
            load(tmp_path, f'[broker]\nhost = "{remote}"\n', listing)


def test_where_the_file_switched_it_off_an_order_may_switch_it_on(tmp_path: Path) -> None:
    off = (
        LOCAL.replace("[line]\n", "[line]\nfrozen_after = 0\n") + "[source]\nstall_s = 0.0\n[degrade]\nbattery = 0.0\n"
    )
    settings = load(tmp_path, "[line]\nfrozen_after = 9\n[source]\nstall_s = 60.0\n[degrade]\nbattery = 0.0\n", off)
    assert (settings.line.frozen_after, settings.source.stall_s) == (9, 60.0)


def test_a_mistake_in_the_file_is_still_said_to_be_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"agent.toml' \(line 4\)"):
        load(tmp_path, "[windows]\nframes = 64\n", 'station = "s1"\nhome = "x"\n[line]\nqueue = "long"\n')


values = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "never", "requested", "auto", "cpu", "x", "/dev/video0", "10.0.0.1"]),
    st.lists(st.text("ab", max_size=2), max_size=2),
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return msgspec.json.encode(value).decode()


keys = sorted(f"{key}.name" if key in ("cameras", "models") else key for key in all_keys())


@given(st.dictionaries(st.sampled_from([*keys, "line.quee", "x"]), values, max_size=3))
def test_any_overlay_is_settings_or_invalid_config_and_no_forbidden_key_ever_moves(
    tmp_path_factory: pytest.TempPathFactory, overlay: dict[str, object]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    local = load(folder, "")
    try:
        settings = load(folder, "".join(f"{key} = {toml(value)}\n" for key, value in overlay.items()))
    except InvalidConfig as error:
        assert error.message and "\n" not in error.one_line()
        return
    was, now = msgspec.to_builtins(local), msgspec.to_builtins(settings)
    for key in NEVER:
        section, _, name = key.partition(".")
        assert (now[section][name] == was[section][name]) if name else (now[section] == was[section])
    assert settings.line.deadline_ms <= local.line.deadline_ms
    assert settings.limits.samples == local.limits.samples
    assert 0 < settings.line.frozen_after <= local.line.frozen_after
    assert settings.line.blank_sd >= local.line.blank_sd and settings.line.wedged_s <= local.line.wedged_s
    assert settings.line.unfamiliar >= local.line.unfamiliar > 0
    assert 0 < settings.source.stall_s <= local.source.stall_s and settings.degrade.enabled
    assert settings.policy.images_leave in (ImagesLeave.UNSURE, ImagesLeave.NEVER)
    assert not settings.policy.fallback and settings.broker.host == local.broker.host


@given(st.text(max_size=120))
def test_any_text_is_settings_or_invalid_config(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        load(tmp_path_factory.getbasetemp(), text)
    except InvalidConfig as error:
        assert "\n" not in error.one_line()
