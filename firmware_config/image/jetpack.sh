#!/bin/sh
# What an image for a JetPack is made of. usage: jetpack.sh JETPACK WHAT    e.g. jetpack.sh 7.2 sm
#   l4t      release of NVIDIA's apt repositories for Jetson
#   python   of its Ubuntu, as the locks write it
#   sm       the GPUs it runs on, which ONNX Runtime must have code for: 87 is Orin, 110 is Thor
#   nvidia   where ONNX Runtime's build finds cuDNN and TensorRT
#   ort      the ONNX Runtime that is built for it, as far as such builds are known (deploy/README.md)
#   build    apt packages to build with; none where the image brings them
#   run      apt packages to run with
set -eu

case "$1" in
  7.2)
    l4t=r39.2 python=cp312 sm="87 110" ort=1.26.0 nvidia=/usr
    build="build-essential git python3-dev python3-venv cuda-toolkit-13-2 libcudnn9-dev-cuda-13 tensorrt"
    run="python3 ca-certificates libgomp1 cuda-cudart-13-2 cuda-nvrtc-13-2 libcublas-13-2 libcufft-13-2 libcurand-13-2 libcudnn9-cuda-13 tensorrt-libs"
    ;;
  6.2)
    # Python 3.10 ends with ONNX Runtime 1.23. CUDA, cuDNN and TensorRT are in l4t-jetpack; l4t-cuda has CUDA alone.
    l4t=r36.4 python=cp310 sm="87" ort=1.23.2 nvidia=/usr/lib/aarch64-linux-gnu
    build="build-essential git python3-dev python3-venv"
    run="python3 ca-certificates libgomp1"
    ;;
  *) echo "error: no JetPack '$1' is known here (7.2, 6.2)" >&2; exit 2 ;;
esac
case "${2:-}" in
  l4t) echo "$l4t" ;;
  python) echo "$python" ;;
  sm) echo "$sm" ;;
  nvidia) echo "$nvidia" ;;
  ort) echo "$ort" ;;
  build) echo "$build" ;;
  run) echo "$run" ;;
  *) echo "error: 'l4t', 'python', 'sm', 'nvidia', 'ort', 'build' or 'run', not '${2:-}'" >&2; exit 2 ;;
esac
