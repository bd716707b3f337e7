#!/bin/sh
# Build ONNX Runtime with CUDA and TensorRT for the GPUs of a Jetson. usage: build-onnxruntime.sh JETPACK OUT
# ORT_VERSION and SM: other ones than jetpack.sh names. ORT_COMMIT: what the version's tag must be.
# No published wheel has both TensorRT and code for these GPUs with JetPack 7.2's CUDA (deploy/README.md). Takes the better part of an
# hour on 16 cores, and about 2 GB for each of JOBS (default: a core each). Any arm64 machine will do: it needs no GPU.
set -eu

jetpack=$1 out=$2 commit=${ORT_COMMIT:-}
facts=$(cd "$(dirname "$0")" && pwd)/jetpack.sh
version=${ORT_VERSION:-$("$facts" "$jetpack" ort)} sms=${SM:-$("$facts" "$jetpack" sm)} nvidia=$("$facts" "$jetpack" nvidia)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --disable-pip-version-check --quiet cmake==3.31.10 ninja numpy packaging setuptools wheel
PATH="$work/tools/bin:/usr/local/cuda/bin:$PATH"
export PATH
git clone --quiet --depth 1 --recurse-submodules --shallow-submodules --branch "v$version" \
  https://github.com/microsoft/onnxruntime.git "$work/source"
if [ -n "$commit" ] && [ "$(git -C "$work/source" rev-parse HEAD)" != "$commit" ]; then
  echo "error: v$version is not the commit $commit" >&2
  exit 1
fi
architectures=""
for sm in $sms; do architectures="$architectures${architectures:+;}$sm-real"; done
cd "$work/source"
./build.sh --config Release --update --build --build_wheel --parallel "${JOBS:-$(nproc)}" --skip_tests --allow_running_as_root \
  --compile_no_warning_as_error --use_cuda --cuda_home /usr/local/cuda --cudnn_home "$nvidia" --use_tensorrt --tensorrt_home "$nvidia" \
  --cmake_extra_defines "CMAKE_CUDA_ARCHITECTURES=$architectures" onnxruntime_BUILD_UNIT_TESTS=OFF CMAKE_POLICY_VERSION_MINIMUM=3.5
mkdir -p "$out"
cp build/Linux/Release/dist/onnxruntime*.whl "$out/"
