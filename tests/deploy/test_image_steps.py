"""The very steps that deploy/Dockerfile.jetson runs, run here in a prefix; the network and compilers are played."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.releases.dependency_walk import ROOT
from scripts.releases.packages import build, commit_epoch
from tests.deploy.test_check_sm import CODE, library

STEPS = ROOT / "firmware_config" / "image"


def step(name: str, *arguments: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        (STEPS / name, *map(str, arguments)),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def played(folder: Path, **programs: str) -> str:
    """Write shell programs and return a PATH that finds them first."""
    folder.mkdir(exist_ok=True)
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_a_jetpack_s_facts_and_what_is_unknown() -> None:
    assert step("jetpack.sh", "7.2", "l4t").stdout == "r39.2\n"
    assert step("jetpack.sh", "7.2", "sm").stdout == "87 110\n"
    assert step("jetpack.sh", "6.2", "python").stdout == "cp310\n"
    assert "tensorrt-libs" in step("jetpack.sh", "7.2", "run").stdout.split()
    assert "no JetPack '5.1'" in step("jetpack.sh", "5.1", "sm", code=2).stderr
    assert "not 'colour'" in step("jetpack.sh", "7.2", "colour", code=2).stderr


def test_nvidia_s_repositories_are_named_under_a_key_that_is_asked_for(tmp_path: Path) -> None:
    path = played(
        tmp_path / "bin", curl='while [ $# -gt 1 ]; do [ "$1" != -o ] || out=$2; shift; done; echo "key of $1" > "$out"'
    )
    key = "key of https://repo.download.nvidia.com/jetson/jetson-ota-public.asc\n"
    step("jetson-apt.sh", "r39.2", hashlib.sha256(key.encode()).hexdigest(), tmp_path / "root", PATH=path)
    assert (tmp_path / "root/usr/share/keyrings/nvidia-jetson.asc").read_text() == key
    sources = (tmp_path / "root/etc/apt/sources.list.d/nvidia-jetson.list").read_text().splitlines()
    signed = "deb [arch=arm64 signed-by=/usr/share/keyrings/nvidia-jetson.asc] https://repo.download.nvidia.com/jetson"
    assert sources == [f"{signed}/common r39.2 main", f"{signed}/som r39.2 main"]
    refused = step("jetson-apt.sh", "r39.2", "0" * 64, tmp_path / "other", PATH=path, code=1)
    assert "not the one" in refused.stderr and not list((tmp_path / "other").rglob("nvidia-jetson.*"))


def test_packages_come_without_what_they_recommend(tmp_path: Path) -> None:
    path = played(tmp_path / "bin", apt_get=f'echo "$@" >> {tmp_path}/asked', rm="true")
    step("apt-install.sh", "--for", "6.2", "run", PATH=path)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["update -q", "install -q -y --no-install-recommends python3 ca-certificates libgomp1", "clean"]


@pytest.mark.skipif(os.geteuid() != 0, reason="users are made by root")
def test_the_user_has_the_device_s_groups_by_number(tmp_path: Path) -> None:
    def system(name: str, groups: str) -> Path:
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tmp_path / name / "etc/group").write_text(groups)
        return tmp_path / name

    # Ubuntu has a "video" of its own; Debian's "kvm" may have the number that is the device's "render".
    root = system("jetson", "root:x:0:\nvideo:x:39:\nkvm:x:104:\n")
    step("make-user.sh", 10001, 44, 104, root)
    groups = {line.split(":")[0]: line.split(":") for line in (root / "etc/group").read_text().splitlines()}
    assert groups["video"][2:] == ["44", "plumbline"] and groups["kvm"][2:] == ["104", "plumbline"]
    user = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("plumbline:"))
    assert user.split(":")[2:4] == ["10001", "10001"] and user.endswith(":/var/lib/plumbline:/usr/sbin/nologin")
    state = (root / "var/lib/plumbline").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (10001, 10001, 0o750)
    assert "does not run as root" in step("make-user.sh", 0, 44, 104, root, code=2).stderr
    assert "no number" in step("make-user.sh", 10001, "video", 104, root, code=2).stderr


def test_libraries_are_taken_with_their_links(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libcudnn.so.9.3.0").write_bytes(b"x")
    (tmp_path / "lib/libcudnn.so.9").symlink_to("libcudnn.so.9.3.0")
    step("take-libraries.sh", tmp_path / "out", "libcudnn", FROM=str(tmp_path / "lib"))
    assert (tmp_path / "out/libcudnn.so.9").readlink() == Path("libcudnn.so.9.3.0")
    assert (
        "no libnvinfer*.so"
        in step("take-libraries.sh", tmp_path / "out", "libnvinfer", FROM=str(tmp_path / "lib"), code=1).stderr
    )


def test_onnx_runtime_is_built_for_the_device_s_gpus(tmp_path: Path) -> None:
    dist = "build/Linux/Release/dist"
    (tmp_path / "build.sh").write_text(
        f'#!/bin/sh\nfor each; do echo "$each"; done > {tmp_path}/options\n'
        f"mkdir -p {dist}\necho wheel > {dist}/onnxruntime_gpu-1.whl\n"
    )
    (tmp_path / "build.sh").chmod(0o755)
    path = played(
        tmp_path / "bin",
        git=f'case "$*" in *rev-parse*) echo abc; exit ;; esac\necho "$*" > {tmp_path}/clone\n'
        f'for last; do :; done; mkdir -p "$last"; cp {tmp_path}/build.sh "$last/"',
        python3='mkdir -p "$3/bin"; printf "#!/bin/sh\\n" > "$3/bin/python"; chmod +x "$3/bin/python"',
    )
    step("build-onnxruntime.sh", "7.2", tmp_path / "ort", PATH=path, JOBS="3", ORT_COMMIT="abc")
    assert [each.name for each in (tmp_path / "ort").iterdir()] == ["onnxruntime_gpu-1.whl"]
    assert "--branch v1.26.0 https://github.com/microsoft/onnxruntime.git" in (tmp_path / "clone").read_text()
    options = (tmp_path / "options").read_text().splitlines()
    assert "CMAKE_CUDA_ARCHITECTURES=87-real;110-real" in options and options[options.index("--parallel") + 1] == "3"
    assert {"--use_cuda", "--use_tensorrt", "--build_wheel"} <= set(options)
    step("build-onnxruntime.sh", "6.2", tmp_path / "ort", PATH=path, SM="72 87")
    assert "CMAKE_CUDA_ARCHITECTURES=72-real;87-real" in (tmp_path / "options").read_text().splitlines()
    refused = step("build-onnxruntime.sh", "7.2", tmp_path / "none", PATH=path, ORT_COMMIT="abd", code=1)
    assert "is not the commit abd" in refused.stderr and not (tmp_path / "none").exists()


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes], requires: tuple[str, ...] = ()) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = "\n".join(
        [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {each}" for each in requires)]
    )
    content = {
        **files,
        f"{info}/METADATA": metadata.encode() + b"\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in content.items():
            archive.writestr(each, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{each},,\n" for each in [*content, f"{info}/RECORD"]))
    return path


def runtime(folder: Path, name: str, providers: str, sms: list[int]) -> Path:
    code = f"__version__ = '1'\n\n\ndef get_available_providers():\n    return {providers!r}.split()\n"
    cuda = library([(CODE, sm) for sm in sms])
    return wheel(
        folder,
        name,
        "1.0",
        {"onnxruntime/__init__.py": code.encode(), "onnxruntime/capi/libonnxruntime_providers_cuda.so": cuda},
    )


@pytest.mark.slow
def test_the_environment_is_made_checked_and_pruned(tmp_path: Path) -> None:
    index = tmp_path / "index"
    locked = [
        wheel(
            index, "numpy", "2.0", {"numpy/__init__.py": b"", "numpy/tests/test_all.py": b"", "numpy/__init__.pyi": b""}
        ),
        runtime(index, "onnxruntime", "CPUExecutionProvider", []),
    ]
    lock = tmp_path / "lock.txt"
    hashed = [
        f"{each.name.split('-')[0]}=={each.name.split('-')[1]} --hash=sha256:{hashlib.sha256(each.read_bytes()).hexdigest()}"
        for each in locked
    ]
    lock.write_text("# a comment\n" + "\n".join(hashed) + "\n")
    trimmer = {
        f"firmware_config/{each}": (ROOT / "firmware_config" / each).read_bytes()
        for each in ("__init__.py", "provisioning/__init__.py", "provisioning/trim.py")
    }
    agent = wheel(
        tmp_path / "agent",
        "plumbline_edge",
        "0.2.0",
        {"agent/__init__.py": b"", "agent/wiring.py": b"import numpy\n", "cloud/__init__.py": b"", **trimmer},
        ("numpy", "onnxruntime>=1"),
    )
    ort = tmp_path / "ort"
    runtime(ort, "onnxruntime_gpu", "TensorrtExecutionProvider CUDAExecutionProvider CPUExecutionProvider", [87, 90])
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    venv = tmp_path / "venv"
    other = tmp_path / "other.txt"
    other.write_text(f"{hashed[0][:-64]}{'0' * 64}\n")
    assert "DO NOT MATCH THE HASHES" in step("make-venv.sh", venv, other, agent, code=1, **offline).stderr
    step("make-venv.sh", venv, lock, agent, ort, tmp_path / "no-such-folder", **offline)
    packages = next(venv.glob("lib/python3*/site-packages"))
    assert {each.name for each in packages.glob("onnxruntime*")} == {"onnxruntime", "onnxruntime_gpu-1.0.dist-info"}

    assert "code for SM 87 (1), SM 90 (1)" in step("check-runtime.sh", venv, "87").stdout
    assert "too little code for SM 110" in step("check-runtime.sh", venv, "87 110", code=1).stderr
    listed = packages / "onnxruntime/__init__.py"
    listed.write_text(listed.read_text().replace("TensorrtExecutionProvider ", ""))
    assert "no TensorrtExecutionProvider" in step("check-runtime.sh", venv, "87", code=1).stderr

    step("prune-venv.sh", venv)
    assert (
        not list(packages.glob("pip*"))
        and not (packages / "numpy/tests").exists()
        and not list(packages.rglob("*.pyi"))
    )
    assert list(packages.glob("agent/__pycache__/wiring.*.pyc"))
    subprocess.run((venv / "bin/python", "-I", "-c", "import agent.wiring"), check=True)
    assert "in all, of 50 MB" in step("check-size.sh", venv, 50).stdout
    assert "larger than 0 MB" in step("check-size.sh", venv, 0, code=1).stderr


def test_two_runtimes_are_one_too_many(tmp_path: Path) -> None:
    runtime(tmp_path, "onnxruntime_gpu", "", [])
    runtime(tmp_path, "onnxruntime_jetson", "", [])
    refused = step("make-venv.sh", tmp_path / "venv", tmp_path / "lock", tmp_path / "agent.whl", tmp_path, code=1)
    assert "more than one wheel" in refused.stderr and not (tmp_path / "venv").exists()


@pytest.mark.long
def test_the_real_agent_runs_out_of_such_an_environment(tmp_path: Path) -> None:
    wheel_file, _ = build(tmp_path / "dist", tmp_path / "copy", commit_epoch())
    lock = ROOT / f"firmware_config/locks/agent-cp3{sys.version_info.minor}-{os.uname().machine}.txt"
    venv = tmp_path / "venv"
    step("make-venv.sh", venv, lock, wheel_file)
    assert "no CUDAExecutionProvider" in step("check-runtime.sh", venv, "87", code=1).stderr
    step("prune-venv.sh", venv)
    print(step("check-size.sh", venv, 250).stdout)
    done = subprocess.run(
        (venv / "bin/plumbline-agent", "selftest", "--help"), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "usage" in done.stdout
