#!/bin/sh
# Build pycuda, which is published as source alone, and take what it needs. usage: build-pycuda.sh LOCK OUT
# LOCK: firmware_config/locks/jetson-*.txt. Needs CUDA's headers and the stub of its driver, no GPU.
set -eu

lock=$1 out=$2
cuda=${CUDA_ROOT:-/usr/local/cuda}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
pip="$tools/bin/python -m pip --disable-pip-version-check --quiet"
$pip install setuptools wheel
# The numpy it is built with is the one that it will run with.
sed -n '/^numpy==/p' "$lock" > "$tools/numpy.txt"
$pip install --no-deps --require-hashes -r "$tools/numpy.txt"
CUDA_ROOT=$cuda PATH="$cuda/bin:$PATH" LIBRARY_PATH="$cuda/lib64/stubs" \
  $pip wheel --no-deps --no-build-isolation --require-hashes --wheel-dir "$out" -r "$lock"
