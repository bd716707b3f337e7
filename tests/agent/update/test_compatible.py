from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from agent.runtime.machine_facts import read_machine_facts
from agent.update.compatible import (
    UNKNOWN,
    MachineFacts,
    at_least,
    incompatibilities,
    memory_lack,
)
from contract.errors import BadBundle
from contract.manifest import Compatibility
from contract.target_facts import TargetFacts, encode_facts, read_facts

PI = MachineFacts("aarch64", {"onnxruntime": "1.20.1"}, "0.1.0", 3800.0)

numbers = st.lists(st.integers(0, 40), min_size=1, max_size=4).map(lambda each: ".".join(map(str, each)))
endings = st.sampled_from(
    ["", "rc1", "a2", "b3", ".dev20240901", ".post1", "+cu124", "rc1+nv25.3", ".post2.dev1", "-rc.1", "_beta2"]
)


@given(st.builds(str.__add__, numbers, endings), numbers)
def test_versions_are_ordered_as_python_packaging_orders_them(version: str, least: str) -> None:
    assert at_least(version, least) is (Version(version) >= Version(least))


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_compared_or_called_no_version(version: str, least: str) -> None:
    assert at_least(version, least) in (True, False, None)


def test_a_bundle_that_asks_for_nothing_runs_anywhere() -> None:
    assert incompatibilities(Compatibility(), PI) == incompatibilities(Compatibility(), MachineFacts()) == []


def test_what_is_lacking_is_said_with_what_to_upgrade() -> None:
    needs = Compatibility(("x86_64",), {"onnxruntime": "1.23"}, "0.2")
    assert incompatibilities(needs, PI) == [
        "it is made for x86_64, this machine is aarch64: release it for this machine too",
        "it needs onnxruntime 1.23 or newer, this machine has 1.20.1: upgrade onnxruntime",
        "it needs plumbline-edge 0.2 or newer, this machine has 0.1.0: upgrade plumbline-edge",
    ]
    assert incompatibilities(Compatibility(("x86_64", "aarch64"), {"onnxruntime": "1.20"}, "0.1"), PI) == []


def test_either_package_that_loads_tflite_will_do() -> None:
    needs = Compatibility(runtimes={"ai-edge-litert": "1.0", "tflite-runtime": "2.5"})
    assert incompatibilities(needs, MachineFacts(packages={"tflite-runtime": "2.14.0"})) == []
    assert incompatibilities(needs, MachineFacts(packages={"ai-edge-litert": "2.3.0"})) == []
    assert (
        "has 2.1.0: upgrade tflite-runtime"
        in incompatibilities(needs, MachineFacts(packages={"tflite-runtime": "2.1.0"}))[0]
    )
    (lack,) = incompatibilities(needs, PI)
    assert "not installed here: install ai-edge-litert" in lack


def test_what_is_not_known_here_is_left_to_the_self_test() -> None:
    needs = Compatibility(("riscv64",), {"onnxruntime": "9"}, "9")
    assert incompatibilities(needs, MachineFacts(packages={"onnxruntime": UNKNOWN})) == []
    assert incompatibilities(needs, MachineFacts(packages={"onnxruntime": "built by hand"})) == []


def test_a_need_that_is_no_version_is_refused_and_not_guessed_at() -> None:
    assert "no version" in incompatibilities(Compatibility(runtimes={"onnxruntime": "newest"}), PI)[0]


def test_a_bundle_larger_than_all_memory_is_refused() -> None:
    assert memory_lack(4096.0, PI) == "it takes 4096 MiB of memory, this machine has 3800 MiB in all"
    assert memory_lack(120.0, PI) == memory_lack(0.0, PI) == ""
    assert memory_lack(1e6, MachineFacts()) == ""


@given(
    st.builds(
        Compatibility,
        st.lists(st.text(max_size=9), max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        st.text(max_size=9),
    )
)
def test_needs_survive_the_signed_facts_of_a_target(needs: Compatibility) -> None:
    custom = msgspec.json.decode(msgspec.json.encode(encode_facts(TargetFacts("x", compatibility=needs))))
    assert read_facts(custom).compatibility == needs
    assert read_facts({"name": "x"}).compatibility == Compatibility()


@pytest.mark.parametrize("torn", [3, {"machines": "aarch64"}, {"runtimes": [1]}, {"agent": None}])
def test_unreadable_needs_refuse_the_release(torn: object) -> None:
    with pytest.raises(BadBundle, match="unreadably"):
        read_facts({"compatibility": torn})


def test_the_facts_of_this_machine_are_read_without_loading_a_runtime(tmp_path: Path) -> None:
    facts = read_machine_facts()
    assert facts.machine and re.match(r"\d", facts.packages["onnxruntime"]) and facts.agent and facts.memory_mib > 100
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{64 << 20}\n")
    assert read_machine_facts(root=tmp_path).memory_mib == 64.0
    code = (
        "import sys; from agent.runtime.machine_facts import read_machine_facts; read_machine_facts();"
        "sys.exit('onnxruntime' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
