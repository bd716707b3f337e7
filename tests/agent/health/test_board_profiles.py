"""Profiles of boards: each can be laid under a file, is found by its device tree, and says nothing that its board has not."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import msgspec
import pytest

import firmware_config
from agent.health.board_profile import (
    GENERIC,
    BoardProfile,
    Unwise,
    memory_max_mib,
    memory_mib,
    profile_named,
    profile_names,
    profile_of,
)
from agent.health.power_mode import PowerModes, power_modes, recommended
from agent.runtime.providers import WANTED
from agent.settings import load_settings, plain_settings
from agent.update.config_keys import NEVER
from contract.errors import NotFound

ALL = profile_names()
ORIN_NANO_CONF = """\
# nvpmodel.conf of an Orin Nano with JetPack 6.2
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""


def machine(root: Path, model: bytes = b"", **files: str) -> Path:
    if model:
        (root / "proc/device-tree").mkdir(parents=True, exist_ok=True)
        (root / "proc/device-tree/model").write_bytes(model)
    for name, text in files.items():
        path = (
            root / {"status": "var/lib/nvpmodel/status", "conf": "etc/nvpmodel.conf", "meminfo": "proc/meminfo"}[name]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_boards_of_the_issue_are_there() -> None:
    jetsons = ["jetson-agx-orin", "jetson-agx-thor", "jetson-orin-nano", "jetson-orin-nx", "jetson-xavier-nx"]
    assert ["generic-aarch64", "generic-x86", *jetsons, "raspberry-pi-5"] == ALL


@pytest.mark.parametrize("name", ALL)
def test_each_profile_makes_settings_and_sets_nothing_that_is_not_the_boards(name: str, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(f'station = "s1"\nhome = "state"\nboard = "{name}"\n')
    settings = load_settings(tmp_path / "agent.toml", environment={})
    profile = profile_named(name)
    assert settings.profile == profile.name == name
    plain = plain_settings(settings)
    for section, values in profile.settings.items():
        for key, value in values.items():
            assert plain[f"{section}.{key}"] == value
            # A board says how much of the machine is used, never who is trusted, what is looked at or what leaves.
            assert f"{section}.{key}" not in set(NEVER) - {"degrade.hot_c", "limits.disk_mib"}
            assert section in {"runtime", "line", "degrade", "limits"}
    assert 0.2 <= profile.memory_share <= 0.8
    assert set(profile.runtimes) < set(WANTED) and profile.runtimes[-1] == "cpu"
    for unwise in profile.unwise:
        assert isinstance(plain[unwise.key], int | float) and unwise.why
        assert not unwise.is_met_by(plain[unwise.key]), "a profile does not set what it calls unwise"


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("jetson")])
def test_each_jetson_has_a_gpu_and_recommends_a_mode_that_it_has(name: str) -> None:
    profile = profile_named(name)
    assert profile.gpu_sm in (72, 87, 110) and profile.jetpack
    modes = PowerModes({mode.id: mode.name for mode in profile.power_modes}, 0)
    assert len(modes.names) == len(profile.power_modes), "two modes have one number"
    assert recommended(profile, modes) is not None


@pytest.mark.parametrize("jetpack", ["6.2", "7.2"])
def test_the_profiles_and_the_image_agree_on_which_gpus_a_jetpack_has(jetpack: str) -> None:
    """An image whose ONNX Runtime has no code for a board that its JetPack runs on would be found out on the board."""
    script = Path(firmware_config.__file__).parent / "image/jetpack.sh"
    done = subprocess.run(["sh", script, jetpack, "sm"], capture_output=True, text=True, check=True)
    boards = {profile.gpu_sm for profile in map(profile_named, ALL) if jetpack in profile.jetpack}
    assert boards == {int(sm) for sm in done.stdout.split()}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (b"NVIDIA Jetson Orin Nano Developer Kit\0", "jetson-orin-nano"),
        (b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0", "jetson-orin-nano"),
        (b"NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0", "jetson-orin-nx"),
        (b"NVIDIA Jetson AGX Orin Developer Kit\0", "jetson-agx-orin"),
        (b"NVIDIA Jetson AGX Thor Developer Kit\0", "jetson-agx-thor"),
        (b"NVIDIA Jetson Xavier NX Developer Kit\0", "jetson-xavier-nx"),
        (b"Raspberry Pi 5 Model B Rev 1.0\0", "raspberry-pi-5"),
        (b"Raspberry Pi Compute Module 5 Rev 1.0\0", "raspberry-pi-5"),
    ],
)
def test_a_board_is_found_by_its_device_tree(tmp_path: Path, model: bytes, name: str) -> None:
    assert profile_of(machine(tmp_path, model)).name == name


@pytest.mark.parametrize("model", [b"Raspberry Pi 4 Model B Rev 1.4\0", b"NVIDIA Jetson AGX Xavier\0", b""])
def test_an_unknown_board_takes_the_generic_profile_of_its_machine(tmp_path: Path, model: bytes) -> None:
    generic = {"x86_64": "generic-x86"}.get(platform.machine(), "generic-aarch64")
    found = profile_of(machine(tmp_path, model))
    assert found.name == generic in GENERIC and found.settings == {} and not found.match


def test_a_name_that_is_none_or_a_path_is_not_found() -> None:
    for name in ("toaster", "../boards/generic-x86", "", "x" * 100):
        with pytest.raises(NotFound, match="no board profile"):
            profile_named(name)


def test_a_profile_with_a_key_that_it_has_not_is_no_profile() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(
            'name = "x"\ntitle = "x"\nsoc = "x"\nmemory_share = 0.5\nruntimes = []\ntdp = 3\n', type=BoardProfile
        )


def test_unwise_values_are_beyond_a_bound_and_never_0() -> None:
    both = Unwise("line.threads", "it has 4", below=2, above=4)
    assert [both.is_met_by(value) for value in (0, 1, 2, 4, 5)] == [False, True, False, False, True]


def test_the_memory_cap_is_a_share_of_what_the_kernel_counts(tmp_path: Path) -> None:
    machine(tmp_path, meminfo="MemFree:   99 kB\nMemTotal:        7802564 kB\n")
    assert memory_mib(tmp_path) == 7619
    assert memory_max_mib(profile_named("jetson-orin-nano"), 7619) == 4571
    assert memory_mib(tmp_path / "elsewhere") == 0 == memory_max_mib(profile_named("generic-x86"), 0)


@pytest.mark.parametrize(
    ("status", "conf", "name", "wanted"),
    [
        ("pmode:0002 fmode:fanNull", ORIN_NANO_CONF, "MAXN_SUPER", (1, "25W")),
        ("pmode:0001", ORIN_NANO_CONF, "25W", (1, "25W")),
        ("", ORIN_NANO_CONF, "25W", (1, "25W")),  # never set since the flash: the default
        ("pmode:0007", ORIN_NANO_CONF, "mode 7", (1, "25W")),
        # Before JetPack 6.2 the numbers are other ones, and there is no 25 W.
        ("pmode:0001", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n", "7W", (0, "15W")),
        ("pmode:0000", "", "15W", (1, "25W")),  # no file: what the profile knows
        ("", "", "", (1, "25W")),
    ],
)
def test_the_power_mode_is_read_from_nvpmodels_own_files(
    tmp_path: Path, status: str, conf: str, name: str, wanted: tuple[int, str]
) -> None:
    profile = profile_named("jetson-orin-nano")
    files = {key: text for key, text in (("status", status), ("conf", conf)) if text}
    modes = power_modes(profile, machine(tmp_path, **files))
    assert modes.running_name == name and recommended(profile, modes) == wanted


def test_one_mode_has_two_spellings() -> None:
    modes = PowerModes({0: "MAXN", 2: "MODE_30W"}, 0)
    assert recommended(profile_named("jetson-agx-orin"), modes) == (2, "MODE_30W")
    assert recommended(profile_named("raspberry-pi-5"), modes) is None
