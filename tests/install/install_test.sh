#!/usr/bin/env bash
# install_test.sh TEST CMAKE NINJA BUILD HALIDE_DIR
# Installs the package, moves it, and builds programs against it: what a user's machine would do.
set -euo pipefail
test=$1 cmake=$2 ninja=$3 build=$4 halide_dir=$5
here=$(dirname "$(readlink -f "$0")")
source=$(readlink -f "$here/../..")
area=$build/tests/install
prefix="$area/a place/mha"  # a space in a path is nothing special to users

# Nothing but the package may help.
unset MHA_GEN CMAKE_PREFIX_PATH LD_LIBRARY_PATH PKG_CONFIG_PATH

fail() { echo "FAILED: $*" >&2; exit 1; }

# fresh NAME: an empty folder
fresh() { rm -rf "${area:?}/$1"; mkdir -p "$area/$1"; }

# configure SOURCE BINARY [ARGS]
configure() {
  local from=$1 to=$2
  shift 2
  "$cmake" -S "$from" -B "$to" -G Ninja -DCMAKE_MAKE_PROGRAM="$ninja" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_PREFIX_PATH="$prefix" "$@"
}

package() {
  fresh "a place"
  "$cmake" --install "$build" --prefix "$area/a place/before" >/dev/null
  mv "$area/a place/before" "$prefix"
  "$prefix/bin/mha-gen" --version
  [[ $(ldd "$prefix/bin/mha-gen") == *"=> $prefix/bin/../lib/mha/libHalide.so "* ]] ||
    fail "mha-gen does not take the Halide of its package"
  ! grep -rIl -e "$build" -e "$source" "$prefix" || fail "the package knows where it was built"
}

minimal() {
  fresh minimal
  cp -r "$source/examples/minimal" "$area/minimal/source"
  configure "$area/minimal/source" "$area/minimal/build"
  "$cmake" --build "$area/minimal/build"
  "$area/minimal/build/minimal"
  # C all through: no C++ library comes in with the kernel.
  [[ ! $(ldd "$area/minimal/build/minimal") =~ libstdc\+\+|libHalide|libLLVM ]] ||
    fail "the program needs more than the C library"
}

# Generated again when the config or a record changes, and only then.
rebuild() {
  fresh rebuild
  cp -r "$source/examples/minimal" "$area/rebuild/source"
  configure "$area/rebuild/source" "$area/rebuild/build" >/dev/null
  "$cmake" --build "$area/rebuild/build" >/dev/null
  rebuilt() { "$cmake" --build "$area/rebuild/build"; }
  [[ $(rebuilt) == *"no work to do"* ]] || fail "built twice for nothing"
  sleep 1  # for file systems that count seconds
  sed -i 's/^heads: 2/heads: 2  # still/' "$area/rebuild/source/tiny_attention.yaml"
  [[ $(rebuilt) == *"Generating attention kernels tiny_attention"* ]] ||
    fail "a changed config is not noticed"
  [[ $(rebuilt) == *"no work to do"* ]] || fail "built twice for one change"
  mkdir "$area/rebuild/source/mha-records"
  touch "$area/rebuild/source/mha-records/new.yaml"
  [[ $(rebuilt) == *"Generating attention kernels tiny_attention"* ]] ||
    fail "a new record is not noticed"
}

# Mistakes are told when CMake runs, in words.
bad_use() {
  fresh bad_use
  local said
  refused() {
    rm -rf "$area/bad_use/build"
    printf '%s\n' "cmake_minimum_required(VERSION 3.25)" "project(bad C)" "find_package(mha REQUIRED)" "$1" \
      >"$area/bad_use/CMakeLists.txt"
    if said=$(configure "$area/bad_use" "$area/bad_use/build" "${@:3}" 2>&1); then
      fail "accepted: $1"
    fi
    [[ $(tr -s ' \n' ' ' <<<"$said") == *"$2"* ]] || fail "'$1' should say '$2', says: $said"
  }
  cp "$source/examples/minimal/tiny_attention.yaml" "$area/bad_use/a.yaml"
  refused "mha_add_library(other CONFIG a.yaml)" "has the name 'tiny_attention'"
  refused "mha_add_library(tiny_attention CONFIG b.yaml)" "there is no file"
  refused "mha_add_library(tiny_attention)" "CONFIG is missing"
  refused "mha_add_library(tiny_attention CONFIG a.yaml TARGETS zen4)" "unknown argument TARGETS"
  refused "mha_add_library(tiny_attention CONFIG a.yaml)" "say which machine to generate for" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=x86_64
  PATH=/usr/bin:/bin refused "mha_add_library(tiny_attention CONFIG a.yaml TARGET x86-64-v2)" \
    "found no mha-gen that runs on this machine" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=x86_64
}

# Without CMake: the generator, cc and pkg-config.
pkg_config() {
  fresh pkg_config
  cd "$area/pkg_config"
  "$prefix/bin/mha-gen" --quiet --config "$source/examples/minimal/tiny_attention.yaml" --output generated
  # pkg-config escapes the spaces of paths for a shell.
  export PKG_CONFIG_PATH="$prefix/lib/pkgconfig:$PWD/generated/tiny_attention"
  eval "cc -std=c11 -Wall -Wextra -Werror -pedantic '$source/examples/minimal/main.c' -o minimal \
    $(pkg-config --cflags --libs tiny_attention)"
  ./minimal
}

# A library generated beforehand, found by its own CMake file.
generated_package() {
  fresh generated_package
  "$prefix/bin/mha-gen" --quiet --config "$source/examples/minimal/tiny_attention.yaml" \
    --output "$area/generated_package/made here"
  cp "$source/examples/minimal/main.c" "$area/generated_package"
  printf '%s\n' "cmake_minimum_required(VERSION 3.25)" "project(user C)" \
    "find_package(tiny_attention REQUIRED PATHS \"\${CMAKE_CURRENT_SOURCE_DIR}/made here/tiny_attention\")" \
    "add_executable(user main.c)" \
    "target_link_libraries(user PRIVATE tiny_attention::tiny_attention)" \
    >"$area/generated_package/CMakeLists.txt"
  configure "$area/generated_package" "$area/generated_package/build"
  "$cmake" --build "$area/generated_package/build"
  "$area/generated_package/build/user"
}

# Two generated libraries and a pipeline of the program's own, with Halide's own runtime, in one program.
two_runtimes() {
  fresh two_runtimes
  configure "$here/two_runtimes" "$area/two_runtimes" -DHalide_DIR="$halide_dir"
  "$cmake" --build "$area/two_runtimes"
  "$area/two_runtimes/two_runtimes"
  # Both libraries hold several targets, and one in common.
  MHA_TARGET=x86-64-v2 "$area/two_runtimes/two_runtimes"
}

# One library for every x86-64 machine: each target is forced in turn, and runs or says why it cannot.
several_targets() {
  fresh several_targets
  cp -r "$source/examples/minimal" "$area/several_targets/source"
  echo 'targets: [x86-64-v2, x86-64-v3, x86-64-v4, zen4, zen5, sapphirerapids]' \
    >>"$area/several_targets/source/tiny_attention.yaml"
  configure "$area/several_targets/source" "$area/several_targets/build"
  "$cmake" --build "$area/several_targets/build"
  local program=$area/several_targets/build/minimal target said ran=
  "$program"
  for target in x86-64-v2 x86-64-v3 x86-64-v4 zen4 zen5 sapphirerapids; do
    if said=$(MHA_TARGET=$target "$program" 2>&1); then
      ran+=" $target"
    else
      [[ $said == *"MHA_TARGET is '$target': "*"this machine lacks"* ]] || fail "$target: $said"
    fi
  done
  [[ $ran == " x86-64-v2"* ]] || fail "x86-64-v2 runs everywhere"
  ! said=$(MHA_TARGET=zen44 "$program" 2>&1) || fail "a target of no such name runs"
  [[ $said == *"MHA_TARGET is 'zen44'; kernel 'tiny_attention' was generated for "* ]] || fail "$said"
}

# A toolchain file makes CMake cross-compile; here to an older x86-64, so that the result can be run too.
cross() {
  fresh cross
  cat >"$area/cross/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER cc)
set(CMAKE_C_FLAGS_INIT -march=x86-64-v2)
set(CMAKE_FIND_ROOT_PATH "$prefix")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
END
  cp -r "$source/examples/minimal" "$area/cross/source"
  echo 'targets: [x86-64-v2]' >>"$area/cross/source/tiny_attention.yaml"
  configure "$area/cross/source" "$area/cross/build" \
    -DCMAKE_TOOLCHAIN_FILE="$area/cross/toolchain.cmake" -DMHA_GEN="$build/bin/mha-gen"
  "$cmake" --build "$area/cross/build"
  grep -q 'x86-64-v2' "$area/cross/build/mha-generated/tiny_attention/manifest.json" ||
    fail "not generated for the target"
  "$area/cross/build/minimal"
}

"$test"
