"""tegrastats' lines, as threads on the web show them for each JetPack, and the child that says one."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.health.tegrastats import MOST_BYTES, TegraStats, ask_tegrastats, parse_line

# Of a TX2, from henrygd/beszel#1631.
JETPACK_4 = (
    "RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,49%@2031,67%@2034,17%@1420,25%@1419,8%@1420] "
    "EMC_FREQ 1%@1866 GR3D_FREQ 0%@114 APE 150 MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C Tboard@38C GPU@39.5C BCPU@42.5C "
    "thermal@41.3C Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 VDD_4V0_WIFI 0/0 VDD_IN 5297/5297 VDD_SYS_CPU 1917/1917"
)
# The forms of JetPack 5 and 6 on an Orin Nano, by NVIDIA's description of the fields and the patterns that read them in public
# code.
JETPACK_6 = (
    "11-30-2026 12:00:00 RAM 3051/7620MB (lfb 4x4MB) SWAP 18/3810MB (cached 0MB) CPU [12%@1510,5%@1510,off,off,3%@729,2%@729] "
    "EMC_FREQ 7%@2133 GR3D_FREQ 43%@[305] NVDEC off NVJPG off VIC off OFA off APE 200 cpu@50.812C soc2@49.5C soc0@49.906C "
    "gpu@51.093C tj@51.093C soc1@50.593C cv0@-256C VDD_IN 7624mW/7490mW VDD_CPU_GPU_CV 1762mW/1700mW VDD_SOC 1482mW/1480mW"
)
# A Thor's: no GR3D_FREQ, rails and zones as wendylabsinc/WendyOS#1316 describes them; an idle rail that reads negative.
JETPACK_7 = (
    "11-30-2026 12:00:00 RAM 18420/125805MB (lfb 12x4MB) SWAP 0/0MB (cached 0MB) CPU [1%@972,0%@972,0%@972,0%@972] "
    "cpu@53.718C/114.5C gpu@62.906C/114.5C tj@55.093C VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS 6510mW/6480mW "
    "VIN_SYS_5V0 6521mW/6500mW "
    "VIN 23000mW/22963mW"
)


def test_a_line_of_jetpack_4() -> None:
    told = parse_line(JETPACK_4)
    assert (told.ram_mib, told.swap_mib, told.gpu, told.emc) == ((3276, 7859), (1626, 12_122), 0.0, 0.01)
    assert told.milliwatts["VDD_IN"] == 5297 and told.milliwatts["VDD_4V0_WIFI"] == 0
    assert told.celsius["GPU"] == 39.5 and "PMIC" not in told.celsius


def test_a_line_of_jetpack_6() -> None:
    told = parse_line(JETPACK_6)
    assert (told.ram_mib, told.gpu, told.emc) == ((3051, 7620), 0.43, 0.07)
    assert told.milliwatts == {"VDD_IN": 7624, "VDD_CPU_GPU_CV": 1762, "VDD_SOC": 1482}
    assert set(told.celsius) == {"cpu", "soc2", "soc0", "gpu", "tj", "soc1"}


def test_a_line_of_jetpack_7_has_no_load_of_the_gpu() -> None:
    told = parse_line(JETPACK_7)
    assert (told.gpu, told.emc, told.celsius["gpu"]) == (None, None, 62.906)
    assert told.milliwatts == {"VDD_GPU": -392, "VDD_CPU_SOC_MSS": 6510, "VIN_SYS_5V0": 6521, "VIN": 23_000}


@given(st.text(max_size=500))
def test_no_line_is_too_odd(line: str) -> None:
    assert isinstance(parse_line(line), TegraStats)


@given(st.data())
def test_no_cut_or_mangled_line_is_too_odd(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from([JETPACK_4, JETPACK_6, JETPACK_7]))
    cut, put = data.draw(st.integers(0, len(line))), data.draw(st.text("0123456789@%/-.CMBW[ ", max_size=20))
    told = parse_line(line[:cut] + put + line[cut + len(put) // 2 :])
    assert told.gpu is None or 0.0 <= told.gpu <= 1.0


def say(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_first_line_is_taken_and_the_process_is_ended() -> None:
    told = ask_tegrastats(SystemClock(), 10.0, say(f"import time; print({JETPACK_6!r}, flush=True); time.sleep(60)"))
    assert told is not None and told.gpu == 0.43


@pytest.mark.parametrize(
    "command",
    [
        ["/nowhere/tegrastats"],
        say("pass"),
        say("import time; time.sleep(60)"),
        say(f"import sys; sys.stdout.write('x' * {20 * MOST_BYTES}); sys.stdout.flush(); import time; time.sleep(60)"),
    ],
)
def test_one_that_is_missing_silent_or_endless_is_none_in_bounded_time(command: list[str]) -> None:
    began_s = time.monotonic()
    assert ask_tegrastats(SystemClock(), 1.0, command) is None
    assert time.monotonic() - began_s < 30.0  # by itself it would end after 60
