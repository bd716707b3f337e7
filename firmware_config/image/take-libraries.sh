#!/bin/sh
# Copy shared libraries and their links to a folder, for an image that has them in no package. usage: take-libraries.sh OUT NAME...
# NAME: the beginning of file names, e.g. libnvinfer. FROM (default /usr/lib/aarch64-linux-gnu) says where they are.
set -eu

out=$1
shift
from=${FROM:-/usr/lib/aarch64-linux-gnu}
mkdir -p "$out"
for name; do
  found=""
  for file in "$from/$name"*.so*; do
    if [ -e "$file" ]; then cp -a "$file" "$out/" && found=yes; fi
  done
  [ -n "$found" ] || { echo "error: no $name*.so in $from" >&2; exit 1; }
done
