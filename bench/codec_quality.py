#!/usr/bin/env python3
"""What codecs between stages cost in quality: the same training with and without them, several seeds, validation losses paired.

    bench/codec_quality.py --runs runs/codecs
    bench/codec_quality.py --runs runs/codecs --regime scratch
    bench/codec_quality.py --runs runs/codecs --report --json

A GPT of 0.8 million parameters in four stages on four worker processes of this machine; its validation loss (all of the split) is
compared with that of the run whose activations and gradients cross as they are, at the same seed. fwN/bwM: activations by AQ-SGD in
N bits an element, their gradients directly in M. directN/bwM: the same with activations rounded directly. Runs that have finished
are kept: an interrupted bench goes on where it was, and --report trains nothing.

--regime finetune: a model of each seed is trained on the first 320,000 bytes of the King James Bible for eight epochs without
    codecs, and then goes on for five epochs at 3e-4 on the last 320,000 with them. AQ-SGD was published
    for this (Wang et al., arXiv 2206.01299, fine-tuning): the activations of a sample change little from visit to visit.
--regime scratch: eight epochs at 1e-3 on the first 320,000 bytes, from random weights, which change fast.

Targets: fw4/bw8 and fw3/bw6 within 0.5 % of uncompressed, fw2/bw4 within 2 %, and AQ-SGD better than direct at 2 and 3 bits, each
of the mean gap. Missing one, or a pair, makes the exit code 1.
"""
import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys

from paired_runs import ROOT, final_loss, summary, train

TARGETS = {"fw4/bw8": 0.005, "fw3/bw6": 0.005, "fw2/bw4": 0.02}
BEATS = [("fw3/bw6", "direct3/bw6"), ("fw2/bw4", "direct2/bw4")]
CODECS = {"none": ("none", "none")}
for bits, back in ((4, 8), (3, 6), (2, 4)):
    CODECS["fw%d/bw%d" % (bits, back)] = ("aq%d" % bits, "direct%d" % back)
    CODECS["direct%d/bw%d" % (bits, back)] = ("direct%d" % bits, "direct%d" % back)
BYTES, CONTEXT, BATCH, MICRO_BATCHES = 320_000, 64, 4, 8
EPOCHS = {"scratch": 8, "finetune": 5}
LR = {"scratch": "1e-3", "finetune": "3e-4"}
JOB = """[model]
layers = 4
heads = 4
width = 128
context = {context}
[data]
path = "{data}"
[train]
steps = {steps}
batch = {batch}
micro_batches = {micro_batches}
lr = {lr}
warmup_steps = 50
beta2 = 0.98
[eval]
every = 0
batches = 131
[checkpoint]
every = 0
[pool]
stages = 4
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, metavar="DIR", help="folder of the dataset and the runs")
    parser.add_argument("--regime", choices=list(EPOCHS), default="finetune")
    parser.add_argument("--codecs", default=",".join(CODECS), help="default: all")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--suanli", default=str(ROOT / "build/release/suanli/cli/suanli"), metavar="COMMAND")
    parser.add_argument("--text", default=str(ROOT / "datasets/sources/bible-kjv.txt"), metavar="FILE")
    parser.add_argument("--report", action="store_true", help="train nothing; compare the runs that have finished")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")
    args = parser.parse_args()
    for codec in args.codecs.split(","):
        if codec not in CODECS:
            parser.error("'%s' is not one of %s" % (codec, ", ".join(CODECS)))
    return args


def dataset(args, regime):
    """The regime's text and dataset, made if they are not there yet; the number of steps in its epochs."""
    folder = pathlib.Path(args.runs) / regime
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data" / "dataset.json").exists():
        text = pathlib.Path(args.text).read_bytes()
        (folder / "text.txt").write_bytes(text[:BYTES] if regime == "scratch" else text[-BYTES:])
        words = [args.suanli, "data", "load", str(folder / "text.txt"), "--out", str(folder / "data"), "--valid", "0.1"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    tokens = sum(shard["tokens"] for shard in json.load(open(folder / "data" / "dataset.json"))["splits"]["train"])
    return EPOCHS[regime] * (tokens // CONTEXT) // (BATCH * MICRO_BATCHES)


def train_one(args, regime, codec, seed):
    """Unless it has finished: the run of these codecs, and before it the model that it begins with."""
    steps, run = dataset(args, regime), run_of(args, regime, codec, seed)
    if final_loss(run, steps) is not None:
        return
    words = ["--set", "train.seed=" + seed, "--set", "run.threads=1"]
    if regime == "finetune":
        train_one(args, "scratch", "none", seed)
        words += ["--set", "train.init=%s" % run_of(args, "scratch", "none", seed)]
    job = pathlib.Path(args.runs) / regime / "job.toml"
    job.write_text(JOB.format(data=(job.parent / "data").resolve(), steps=steps, context=CONTEXT, batch=BATCH,
                              micro_batches=MICRO_BATCHES, lr=LR[regime]))
    forward, backward = CODECS[codec]
    # Buffers of samples go with the job: one that was stopped begins anew.
    shutil.rmtree(run, ignore_errors=True)
    train(args.suanli, job, run, ["--on", "local:4", "--set", "codec.forward=" + forward, "--set", "codec.backward=" + backward] +
          words)


def run_of(args, regime, codec, seed):
    return pathlib.Path(args.runs) / regime / ("%s-%s" % (codec.replace("/", "-"), seed))


def main():
    args = arguments()
    seeds = args.seeds.split(",")
    codecs = ["none"] + [codec for codec in args.codecs.split(",") if codec != "none"]
    steps = dataset(args, args.regime)
    if not args.report:
        for seed in seeds:
            for codec in codecs:
                train_one(args, args.regime, codec, seed)
    if not args.json:
        print("| codecs | seed | validation loss | against none |\n| --- | --- | --- | --- |")
    means, missed = {}, []
    for codec in codecs:
        gaps = []
        for seed in seeds:
            loss, base = (final_loss(run_of(args, args.regime, name, seed), steps) for name in (codec, "none"))
            if loss is None or base is None:
                print("no pair of %s at seed %s" % (codec, seed), file=sys.stderr)
                continue
            gaps.append(loss / base - 1)
            record = {"regime": args.regime, "codecs": codec, "seed": int(seed), "valid_loss": loss, "gap": gaps[-1]}
            print(json.dumps(record) if args.json else "| %s | %s | %.5f | %+.3f %% |" % (codec, seed, loss, 100 * gaps[-1]))
        if len(gaps) < len(seeds):
            missed.append("%s lacks pairs" % codec)
        if not gaps or codec == "none":
            continue
        means[codec], half = summary(gaps)
        record = {"regime": args.regime, "codecs": codec, "pairs": len(gaps), "gap_mean": means[codec],
                  "gap_half_width_95": half if math.isfinite(half) else None}
        print(json.dumps(record) if args.json else
              "| %s | mean of %d | | %+.3f %% +- %.3f %% |" % (codec, len(gaps), 100 * means[codec], 100 * half))
    missed += ["%s is %.2f %% off, target %.1f %%" % (codec, 100 * means[codec], 100 * most)
              for codec, most in TARGETS.items() if codec in means and means[codec] > most]
    missed += ["%s is no better than %s" % pair for pair in BEATS
               if all(codec in means for codec in pair) and means[pair[0]] >= means[pair[1]]]
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
