#!/bin/sh
# Builds and runs README's programs and those of examples/ as an outside project does.
#   run.sh find_package|fetch_content|pkg_config|shared SOURCE BUILD
# BUILD is what gets installed; `shared` builds and installs a shared library of its own.
set -eu
how=$1 source=$2 build=$3
work=$build/consumer/$how
rm -rf "$work"
mkdir -p "$work/run" "$work/readme"
cp "$source/tests/consumer/CMakeLists.txt" "$source"/examples/*.cc "$work"
"$source/tests/docs_programs.sh" "$source/README.md" "$work/readme" >/dev/null
for file in "$work"/readme/*.cc; do cp "$file" "$work/readme_${file##*/}"; done
cp "$source/tests/golden/keras/models/model_b_gqa_residual.keras" "$work/run/model.keras"

# Moves what is installed: nothing in it may name the place it was made for.
install_moved() {
  cmake --install "$1" --prefix "$work/first" >/dev/null
  mv "$work/first" "$work/prefix"
}

# Builds the outside project by CMake; further arguments go to its configuration.
build_by_cmake() {
  cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >/dev/null
  cmake --build "$work/build"
  programs=$work/build
}

# Builds each program by one line with pkg-config.
build_by_pkg_config() {
  PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name grouphead.pc)")
  export PKG_CONFIG_PATH
  programs=$work/bin
  mkdir "$programs"
  for file in "$work"/*.cc; do
    program=${file##*/}
    # shellcheck disable=SC2046  # pkg-config prints words
    c++ -std=c++20 -O2 "$file" $(pkg-config --cflags --libs grouphead) -o "$programs/${program%.cc}"
  done
}

case "$how" in
  find_package)
    install_moved "$build"
    build_by_cmake -DCMAKE_PREFIX_PATH="$work/prefix" -DGROUPHEAD_COMPONENTS=KerasFiles
    ;;
  fetch_content) build_by_cmake -DGROUPHEAD_SOURCE="$source" ;;
  pkg_config)
    install_moved "$build"
    build_by_pkg_config
    ;;
  shared)
    cmake -S "$source" -B "$work/library" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DBUILD_SHARED_LIBS=ON -DGROUPHEAD_TESTS=OFF >/dev/null
    cmake --build "$work/library"
    install_moved "$work/library"
    "$work/prefix/bin/grouphead" --version
    library=$(find "$work/prefix" -name libgrouphead.so)
    # Names of what is not public stay inside.
    if nm -DC --defined-only "$library" |
      grep -E ' [TWVD] (grouphead::(ops|kernels|io|saved|train|nn)::|nlohmann|hwy)'; then
      exit 1
    fi
    build_by_cmake -DCMAKE_PREFIX_PATH="$work/prefix"
    LD_LIBRARY_PATH=$(dirname "$library")
    export LD_LIBRARY_PATH
    build_by_pkg_config
    ;;
esac
cd "$work/run"
for file in "$work"/*.cc; do
  program=${file##*/}
  echo "== ${program%.cc}"
  "$programs/${program%.cc}"
done
