#!/bin/sh
# The Python package's tests under the address and undefined-behaviour sanitizers:
# scripts/python_asan.sh [VENV [PYTEST_ARGUMENT...]]
#
# VENV (build/venv) has what the tests need, as ./test and ./test --live make it. The module is
# built with the objects of the preset asan-ubsan.
set -eu
cd "$(dirname "$0")/.."
python=$PWD/${1:-build/venv}/bin/python
case "${1:-}" in /*) python=$1/bin/python ;; esac
[ $# -eq 0 ] || shift
build=build/asan-ubsan
cmake --preset asan-ubsan -DGROUPHEAD_DEVELOPER=ON -DGROUPHEAD_PYTHON=ON \
  -DPython_EXECUTABLE="$python" >/dev/null
cmake --build "$build" --target _core
package=$build/python
rm -rf "$package"
mkdir -p "$package"
cp -r python/grouphead "$package"
cp "$build"/package/grouphead/_core*.so "$package/grouphead"
# The sanitizer ends a program that asks for more memory than there is, where the library throws.
[ $# -gt 0 ] || set -- python/tests --ignore=python/tests/test_docs.py \
  --ignore=python/tests/test_types.py --deselect python/tests/test_cache.py::test_errors
# Python itself does not give back all it took; its allocator hides what is used after it was freed.
exec env LD_PRELOAD="$(clang++ -print-file-name=libclang_rt.asan-x86_64.so)" PYTHONMALLOC=malloc \
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$package" \
  "$python" -m pytest -q -p no:cacheprovider "$@"
