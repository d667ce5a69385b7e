#!/usr/bin/env bash
# Writes docs/reference from what the command prints. A test compares the two.
# usage: make_reference.sh [PATH OF suanli]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suanli=${1:-$root/build/release/suanli/cli/suanli}
if [[ ! -x $suanli ]]; then
  echo "error: $suanli: not built yet" >&2
  echo "  next: run ./quickstart.sh, or name the built command" >&2
  exit 1
fi
mkdir -p "$root/docs/reference"
for page in job:job errors:errors cli:all cli-json:cli-json figures:figures; do
  file=$root/docs/reference/${page%%:*}.md
  "$suanli" help "${page#*:}" --markdown >"$file.new"
  mv "$file.new" "$file"
  echo "${file#"$root"/}"
done
