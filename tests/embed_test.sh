#!/usr/bin/env bash
# Installs the build into a temporary prefix, builds examples/embed against it and runs it.
# usage: embed_test.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$2" --prefix "$prefix/usr" >"$prefix/log"
cmake -G Ninja -S "$1/examples/embed" -B "$prefix/build" -DCMAKE_PREFIX_PATH="$prefix/usr" >>"$prefix/log"
cmake --build "$prefix/build"
"$prefix/build/embed" | tee "$prefix/out"
# The loss of an untrained model is near ln 64 = 4.16 and falls.
awk '/^step/ {loss[$2] = $4} END {exit !(loss[1] > 4.0 && loss[1] < 4.4 && loss[3] < loss[1])}' "$prefix/out"
