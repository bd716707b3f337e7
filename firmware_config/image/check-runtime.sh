#!/bin/sh
# The ONNX Runtime that was installed can use the GPUs it is for. usage: check-runtime.sh VENV "SM..."
# What it lists was compiled in, and says nothing about the GPU (check_sm.py): both are asked.
set -eu

venv=$1 sms=$2
here=$(cd "$(dirname "$0")" && pwd)
"$venv/bin/python" -I - <<'PYTHON'
import onnxruntime

there = onnxruntime.get_available_providers()
print("onnxruntime", onnxruntime.__version__, ", ".join(there))
missing = {"TensorrtExecutionProvider", "CUDAExecutionProvider"} - set(there)
if missing:
    raise SystemExit(f"error: this ONNX Runtime has no {' and no '.join(sorted(missing))}")
PYTHON
library=$("$venv/bin/python" -I -c 'import onnxruntime, pathlib; print(pathlib.Path(onnxruntime.__file__).parent / "capi/libonnxruntime_providers_cuda.so")')
needed=""
for sm in $sms; do needed="$needed --need $sm"; done
# shellcheck disable=SC2086  # an option for each
"$venv/bin/python" -I "$here/check_sm.py" $needed "$library"
