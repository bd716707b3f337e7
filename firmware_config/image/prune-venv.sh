#!/bin/sh
# Take out of a virtual environment what no station runs. usage: prune-venv.sh VENV
# Beside what is taken from every station (provisioning/trim.py): pip, all tests, stubs of types, sources for C compilers.
set -eu

venv=$1
"$venv/bin/python" -I -m firmware_config.provisioning.trim
for packages in "$venv"/lib/python3*/site-packages; do
  rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$packages"/setuptools "$packages"/setuptools-*.dist-info
  find "$packages" -depth -type d \( -name __pycache__ -o -name tests \) -not -path '*/agent/*' -exec rm -rf {} +
  find "$packages" -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.a' \) -delete
done
rm -f "$venv"/bin/pip*
# The root is read-only where it runs: without these every start would compile all modules again. By content, not by time: a
# layer's times are not those of the files here.
"$venv/bin/python" -I -m compileall -q -j 0 --invalidation-mode unchecked-hash "$venv"/lib/python3*/site-packages
