#!/bin/sh
# Name NVIDIA's apt repositories for Jetson to apt. usage: jetson-apt.sh RELEASE [KEY_SHA256] [ROOT]    e.g. jetson-apt.sh r39.2
# The key comes over TLS from NVIDIA; with KEY_SHA256 it must be that very file. ROOT: below this folder, instead of "/".
set -eu

release=$1 sha256=${2:-} root=${3:-}
site=https://repo.download.nvidia.com/jetson
key=/usr/share/keyrings/nvidia-jetson.asc
mkdir -p "$root/usr/share/keyrings" "$root/etc/apt/sources.list.d"
curl --fail --silent --show-error --location --retry 3 --proto '=https' -o "$root$key" "$site/jetson-ota-public.asc"
if [ -n "$sha256" ] && ! echo "$sha256  $root$key" | sha256sum --check --status; then
  echo "error: NVIDIA's key is not the one with the SHA-256 $sha256" >&2
  rm -f "$root$key"
  exit 1
fi
for part in common som; do
  echo "deb [arch=arm64 signed-by=$key] $site/$part $release main"
done > "$root/etc/apt/sources.list.d/nvidia-jetson.list"
