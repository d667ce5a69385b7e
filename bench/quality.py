#!/usr/bin/env python3
"""What an arithmetic costs in quality: the same training in f32, bf16 and exact arithmetic, several seeds, losses paired.

    bench/quality.py --runs runs/quality
    bench/quality.py --runs runs/quality --report --json

Trains a GPT of 5.6 million parameters on the King James Bible for 2,000 steps of 1,024 tokens, once for each arithmetic and seed,
and compares the validation loss (all of the split) with that of f32 at the same seed. A seed names the initial weights and the
order of the samples, so that only the arithmetic differs between the runs of a pair. Runs that have finished are kept: an
interrupted bench goes on where it was, and --report trains nothing. Other variants of suanli may be compared by putting their runs
beside these, as NAME-SEED, and naming them with --arithmetics.

Target: the mean gap of exact to f32 is no larger than bf16's, or within 0.3 %. Missing it makes the exit code 1.
"""
import argparse
import json
import math
import pathlib
import sys

from paired_runs import ROOT, final_loss, summary, train

TARGET = 0.003
JOB = """[model]
layers = 7
heads = 4
width = 256
context = 128
[data]
path = "{data}"
[train]
steps = {steps}
batch = 8
lr = 2e-3
warmup_steps = 100
weight_decay = 0.1
beta2 = 0.98
[eval]
every = 1000
batches = 211
[checkpoint]
every = {steps}
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, metavar="DIR", help="folder of the runs, ARITHMETIC-SEED each")
    parser.add_argument("--arithmetics", default="f32,bf16,exact", help="f32 is always the one compared with")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--suanli", default=str(ROOT / "build/release/suanli/cli/suanli"), metavar="COMMAND")
    parser.add_argument("--data", default=str(ROOT / "datasets/bible-kjv"), metavar="DIR")
    parser.add_argument("--report", action="store_true", help="train nothing; compare the runs that have finished")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")
    return parser.parse_args()


def run_of(args, arithmetic, seed):
    return pathlib.Path(args.runs) / ("%s-%s" % (arithmetic, seed))


def train_one(args, arithmetic, seed):
    folder = pathlib.Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    job = folder / "job.toml"
    job.write_text(JOB.format(data=pathlib.Path(args.data).resolve(), steps=args.steps))
    train(args.suanli, job, run_of(args, arithmetic, seed),
          ["--set", "train.dtype=" + arithmetic, "--set", "train.seed=" + seed, "--set", "run.threads=%d" % args.threads])


def main():
    args = arguments()
    seeds, arithmetics = args.seeds.split(","), args.arithmetics.split(",")
    if not args.report:
        for seed in seeds:
            for arithmetic in arithmetics:
                if final_loss(run_of(args, arithmetic, seed), args.steps) is None:
                    train_one(args, arithmetic, seed)
    losses = {(a, s): final_loss(run_of(args, a, s), args.steps) for a in set(arithmetics) | {"f32"} for s in seeds}
    means = {}
    if not args.json:
        print("| arithmetic | seed | validation loss | against f32 |\n| --- | --- | --- | --- |")
    for arithmetic in arithmetics:
        gaps = []
        for seed in seeds:
            loss, base = losses[arithmetic, seed], losses["f32", seed]
            if loss is None or base is None:
                print("no pair of %s at seed %s" % (arithmetic, seed), file=sys.stderr)
                continue
            gaps.append(loss / base - 1)
            record = {"arithmetic": arithmetic, "seed": int(seed), "valid_loss": loss, "gap_to_f32": gaps[-1]}
            print(json.dumps(record) if args.json else
                  "| %s | %s | %.5f | %+.3f %% |" % (arithmetic, seed, loss, 100 * gaps[-1]))
        if not gaps or arithmetic == "f32":
            continue
        means[arithmetic], half = summary(gaps)
        record = {"arithmetic": arithmetic, "pairs": len(gaps), "gap_mean": means[arithmetic],
                  "gap_half_width_95": half if math.isfinite(half) else None}
        print(json.dumps(record) if args.json else
              "| %s | mean of %d | | %+.3f %% +- %.3f %% |" % (arithmetic, len(gaps), 100 * means[arithmetic], 100 * half))
    if "exact" in means and means["exact"] > max(TARGET, means.get("bf16", 0)):
        sys.exit("exact is %.2f %% worse than f32: target %.1f %%, or no worse than bf16" % (100 * means["exact"], 100 * TARGET))


if __name__ == "__main__":
    main()
