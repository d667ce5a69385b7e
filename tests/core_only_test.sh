#!/usr/bin/env bash
# Builds the rooms base to train with SUANLI_CORE_ONLY: no command line, no ingest, no compiled library but Highway and
# oneDNN. usage: core_only_test.sh SOURCE_DIR
set -euo pipefail
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cmake -G Ninja -S "$1" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSUANLI_CORE_ONLY=ON -DSUANLI_BUILD_TESTS=OFF \
      -DSUANLI_WERROR=ON >"$build/log" || { cat "$build/log"; exit 1; }
cmake --build "$build"
test -f "$build/suanli/train/libsuanli_train.a"
