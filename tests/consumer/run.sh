#!/bin/sh
# Builds and runs README's program as an outside project does.
#   run.sh find_package|fetch_content|pkg_config SOURCE BUILD
set -eu
how=$1 source=$2 build=$3
work=$build/consumer/$how
rm -rf "$work"
mkdir -p "$work"
cp "$source/tests/consumer/CMakeLists.txt" "$work"
sed -n '/^```cpp$/,/^```$/p; /^```cmake$/q' "$source/README.md" | sed '/^```/d' >"$work/example.cc"

case "$how" in
  find_package)
    cmake --install "$build" --prefix "$work/prefix" >/dev/null
    cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
    cmake --build "$work/build"
    program=$work/build/example
    ;;
  fetch_content)
    cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGROUPHEAD_SOURCE="$source" >/dev/null
    cmake --build "$work/build"
    program=$work/build/example
    ;;
  pkg_config)
    cmake --install "$build" --prefix "$work/prefix" >/dev/null
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name grouphead.pc)")
    export PKG_CONFIG_PATH
    program=$work/example
    # shellcheck disable=SC2046  # pkg-config prints words
    c++ -std=c++20 -O2 "$work/example.cc" $(pkg-config --define-variable=prefix="$work/prefix" --cflags --libs --static grouphead) -o "$program"
    ;;
esac
"$program" | tee "$work/output"
grep -Eq '^\[4, 256\], loss [0-9]+\.[0-9]+ then [0-9]+\.[0-9]+$' "$work/output"
