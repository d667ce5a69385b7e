#!/usr/bin/env bash
# Installs what is missing of the given sections of packages.txt: install_packages.sh build [test]
# Asks the package manager only if something is missing, so that a second run is instant and works offline.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

wanted=()
for section in "$@"; do
  while read -r package; do
    wanted+=("$package")
  done < <(awk -v section="[$section]" '/^\[/ {on = ($0 == section); next} on && NF && !/^#/ {print $1}' "$root/packages.txt")
done

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing: ${missing[*]}" >&2
run=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: these packages are missing and need root to install; as root run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  run=(sudo)
fi
"${run[@]}" apt-get update -qq </dev/null >&2
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >&2
