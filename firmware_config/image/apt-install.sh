#!/bin/sh
# Install Debian packages and nothing beside them. usage: apt-install.sh PACKAGE...
#        apt-install.sh --for JETPACK build|run      those that jetpack.sh names
set -eu

if [ "$1" = --for ]; then
  # shellcheck disable=SC2046  # a word a package
  set -- $("$(dirname "$0")/jetpack.sh" "$2" "$3")
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*
