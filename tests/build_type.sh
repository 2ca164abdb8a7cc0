#!/bin/sh
# What a build without a build type is: build_type.sh SOURCE WORK
set -eu
source=$1 work=$2
rm -rf "$work"
mkdir -p "$work/outside"
cat >"$work/outside/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(outside LANGUAGES CXX)
add_subdirectory($source grouphead)
END

# The line "FLAGS" of a source's object in a build.
flags() {
  grep -A 12 "$2.o:" "$work/$1/build.ninja" | grep FLAGS | head -n 1
}

expect() {
  grep -qe "$1" || {
    echo "expected: $1" >&2
    exit 1
  }
}

# Our own build is Release.
cmake -S "$source" -B "$work/own" -G Ninja >"$work/own.txt" 2>&1
expect 'CMAKE_BUILD_TYPE is not set: Release' <"$work/own.txt"
flags own src/ops/linear.cc | expect '-O3'

# A project that takes us in is told, and has optimised kernels all the same.
cmake -S "$work/outside" -B "$work/none" -G Ninja >"$work/none.txt" 2>&1
expect 'grouphead: CMAKE_BUILD_TYPE is not set' <"$work/none.txt"
flags none src/kernels/gemm/simd.cc | expect '-O2'

cmake -S "$work/outside" -B "$work/debug" -G Ninja -DCMAKE_BUILD_TYPE=Debug >"$work/debug.txt" 2>&1
expect 'only the kernels are optimised' <"$work/debug.txt"
flags debug src/kernels/gemm/simd.cc | expect '-O2'

cmake -S "$work/outside" -B "$work/release" -G Ninja -DCMAKE_BUILD_TYPE=Release >"$work/release.txt" 2>&1
if grep 'grouphead: ' "$work/release.txt"; then exit 1; fi
flags release src/kernels/gemm/simd.cc | expect '-O3'
echo passed
