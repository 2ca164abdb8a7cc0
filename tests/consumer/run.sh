#!/bin/sh
# Builds and runs README's programs as an outside project does; by find_package examples/ too.
#   run.sh find_package|fetch_content|pkg_config SOURCE BUILD
# BUILD is what gets installed, a static or a shared library.
set -eu
how=$1 source=$2 build=$3
work=$build/consumer/$how
rm -rf "$work"
mkdir -p "$work/run" "$work/readme"
cp "$source/tests/consumer/CMakeLists.txt" "$work"
# The other ways differ in how the library is found, which README's programs show.
[ "$how" != find_package ] || cp "$source"/examples/*.cc "$work"
"$source/tests/docs_programs.sh" "$source/README.md" "$work/readme" >/dev/null
for file in "$work"/readme/*.cc; do cp "$file" "$work/readme_${file##*/}"; done
cp "$source/tests/golden/keras/models/model_b_gqa_residual.keras" "$work/run/model.keras"
cp -r "$source/tests/golden/hf/llama" "$work/run/llama"

CXXFLAGS=$(sed -n 's/^CMAKE_CXX_FLAGS:STRING=//p' "$build/CMakeCache.txt")  # a sanitizer, say
export CXXFLAGS

keras_component=-DGROUPHEAD_COMPONENTS=KerasFiles
if grep -q '^GROUPHEAD_IO_KERAS:BOOL=OFF' "$build/CMakeCache.txt"; then
  keras_component=
  for file in "$work"/*.cc; do ! grep -q '\.keras"' "$file" || rm "$file"; done
fi

# Installs BUILD and moves it: nothing in it may name the place it was made for. The program needs no
# path to a shared library, which shows only what is public.
install_moved() {
  cmake --install "$build" --prefix "$work/first" >/dev/null
  mv "$work/first" "$work/prefix"
  "$work/prefix/bin/grouphead" --version
  library=$(find "$work/prefix" -name libgrouphead.so)
  [ -n "$library" ] || return 0
  if nm -DC --defined-only "$library" | grep -E ' [TWVDB] (grouphead::(kernels|io|saved)::|nlohmann|hwy)'; then
    exit 1
  fi
  LD_LIBRARY_PATH=$(dirname "$library")
  export LD_LIBRARY_PATH
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
  options="-std=c++20 -O1 $CXXFLAGS $(pkg-config --cflags --libs grouphead)"
  printf '%s\n' "$work"/*.cc | xargs -P 2 -I {} sh -ec \
    'name=${1##*/}; exec c++ "$1" $3 -o "$2/${name%.cc}"' - {} "$programs" "$options"
}

case "$how" in
  find_package)
    install_moved
    build_by_cmake -DCMAKE_PREFIX_PATH="$work/prefix" $keras_component
    ;;
  pkg_config)
    install_moved
    build_by_pkg_config
    ;;
  fetch_content) build_by_cmake -DGROUPHEAD_SOURCE="$source" -DGROUPHEAD_DEVELOPER=ON ;;
esac
cd "$work/run"
for file in "$work"/*.cc; do
  program=${file##*/}
  echo "== ${program%.cc}"
  "$programs/${program%.cc}"
done
