#!/bin/sh
# Make the agent's virtual environment. usage: make-venv.sh VENV LOCK AGENT_WHEEL [ORT_FOLDER [MORE_FOLDER]]
#   LOCK         firmware_config/locks/agent-*.txt: all that is installed, with hashes
#   ORT_FOLDER   with one wheel of ONNX Runtime in it, that takes the place of the one in the lock; none: the lock's, for the CPU
#   MORE_FOLDER  wheels that are installed too: pycuda's
set -eu

venv=$1 lock=$2 agent=$3 ort=${4:-} more=${5:-}
wheel=""
if [ -n "$ort" ]; then
  for found in "$ort"/*.whl; do
    [ -e "$found" ] || continue
    [ -z "$wheel" ] || { echo "error: more than one wheel in $ort" >&2; exit 1; }
    wheel=$found
  done
fi
python3 -m venv "$venv"
# -I: this environment and nothing of the folder or of PYTHONPATH, which may have the same modules.
pip() { "$venv/bin/python" -I -m pip --disable-pip-version-check --quiet --no-input "$@"; }
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
# Two packages bring a module 'onnxruntime', and would overwrite each other's files.
if [ -n "$wheel" ]; then grep -v '^onnxruntime==' "$lock" > "$wanted"; else cp "$lock" "$wanted"; fi
# The locks are complete, so nothing is ever resolved; only wheels, so nothing is built here.
pip install --no-deps --only-binary :all: --require-hashes -r "$wanted"
set -- "$agent"
[ -z "$wheel" ] || set -- "$@" "$wheel"
if [ -n "$more" ]; then
  for found in "$more"/*.whl; do [ ! -e "$found" ] || set -- "$@" "$found"; done
fi
pip install --no-deps --no-index "$@"
# A wheel of ONNX Runtime by another name leaves one need unmet, and that one alone.
"$venv/bin/python" -I -m pip --disable-pip-version-check check > "$wanted" || true
if grep -v -e '^No broken requirements' -e 'requires onnxruntime, which is not installed' "$wanted" >&2; then
  echo "error: what was installed does not fit together (pip's words are above)" >&2
  exit 1
fi
"$venv/bin/python" -I -c 'import agent.wiring, numpy, onnxruntime; onnxruntime.get_available_providers()'
