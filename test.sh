#!/usr/bin/env bash
# Builds everything and runs all tests. Installs what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec </dev/null
source tools/packages.sh
install_packages packages.txt build test
cmake --preset dev
cmake --build --preset dev --parallel "$(nproc)"
ctest --preset dev --parallel "$(nproc)"
