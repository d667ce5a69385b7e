#!/usr/bin/env bash
# From a fresh Debian 12 to a trained model: installs what is missing, builds, makes a dataset of the King James
# Bible, trains a small GPT on it for two to three minutes, and shows what came out. Then it trains another on a pool of
# four workers, over fast lines and over emulated slow ones, and sets the two runs side by side. Run again, it only trains.
# Options go to the first `suanli train`:
#   ./quickstart.sh --set train.steps=50     a shorter run
#   ./quickstart.sh --resume                 go on with the last run
set -euo pipefail
root=$(dirname "${BASH_SOURCE[0]}")
source "$root/tools/packages.sh"
install_packages "$root/packages.txt" build </dev/null

build=$root/build/release suanli=$root/build/release/suanli/cli/suanli
[[ -f $build/build.ninja ]] || cmake -S "$root" --preset release </dev/null
cmake --build "$build" --parallel "$(nproc)" </dev/null

datasets=$root/datasets
if [[ ! -f $datasets/bible-kjv/dataset.json ]]; then
  "$suanli" data fetch bible-kjv --out "$datasets/sources" >/dev/null
  "$suanli" data load "$datasets/sources/bible-kjv.txt" --out "$datasets/bible-kjv"
fi

# A folder of its own for each run, unless the options name one or go on with the last.
runs=$root/runs run=() made=''
if [[ " $* " != *" --run"[\ =]* ]]; then
  mkdir -p "$runs"
  [[ -w $runs ]] || { echo "error: $runs: cannot be written; next: name another folder with --run" >&2; exit 1; }
  last=0
  for folder in "$runs"/quickstart-*; do
    number=${folder##*/quickstart-}
    [[ $number =~ ^[0-9]+$ ]] && ((10#$number > last)) && last=$((10#$number))
  done
  if [[ " $* " != *" --resume "* ]]; then
    until mkdir "$runs/quickstart-$((++last))" 2>/dev/null; do :; done
    made=$runs/quickstart-$last
  fi
  run=(--run "$runs/quickstart-$last")
fi

trap : INT TERM  # Ctrl-C is for the training, which stops cleanly
code=0
"$suanli" train "$root/examples/bible-small.toml" "${run[@]}" "$@" || code=$?
[[ -z $made ]] || rmdir --ignore-fail-on-non-empty "$made"  # nothing was begun
[[ $code == 0 ]] || exit "$code"

# A pool: four worker processes of this machine, linked under TLS as they would be over a network.
number=1
while [[ -e $runs/pool-$number-fast || -e $runs/pool-$number-slow ]]; do ((++number)); done
echo
echo "One model on a pool of four workers, over fast lines, then over lines between eight cities"
"$suanli" train "$root/examples/pool.toml" --on local:4 --run "$runs/pool-$number-fast" >/dev/null || code=$?
((code)) || "$suanli" train "$root/examples/pool.toml" --on local:4 --links "$root/examples/links/worldwide.toml" \
  --run "$runs/pool-$number-slow" >/dev/null || code=$?
((code)) || "$suanli" compare "$runs/pool-$number-slow" "$runs/pool-$number-fast" || code=$?
exit "$code"
