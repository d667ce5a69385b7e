#!/usr/bin/env python3
"""What the meter costs: the time that `suanli train` spends in keeping its records, per step and as a share of a step.

    bench/meter_overhead.py
    bench/meter_overhead.py --steps 1000 --json

Every run books the time of its own record keeping (reading the gauges, writing the line) as the cause `metering` of
metrics.jsonl: the bench reads it from runs of the example jobs. What that cannot hold, the clock readings and bookings around
each phase, was measured once, in a loop: 1.3 microseconds a step of the tiny job. --ledger states it; 2 are added unless it is
given, and the last line says so. The share is of medians, since on a shared machine a neighbour that takes the core within a
write looks like metering; the mean stands beside it. Target: below 0.5 % of a step. Missing it makes the exit code 1.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = 0.005


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of tiny; bible-small gets a tenth (default 400)")
    parser.add_argument("--ledger", type=float, default=2, metavar="US",
                        help="microseconds a step for clocks and bookings (default 2)")
    parser.add_argument("--suanli", default=str(ROOT / "build/release/suanli/cli/suanli"), metavar="COMMAND")
    parser.add_argument("--data", default=str(ROOT / "datasets/bible-kjv"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")
    parser.add_argument("--no-fail", action="store_true", help="report a missed target, but exit with 0")
    return parser.parse_args()


def measure(args, folder, example, steps):
    path = folder / example
    words = [args.suanli, "train", str(ROOT / "examples" / (example + ".toml")), "--run", str(path), "--quiet",
             "--set", "data.path=" + args.data, "--set", "train.steps=%d" % steps, "--set", "train.warmup_steps=1"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    lines = [json.loads(line) for line in open(path / "metrics.jsonl")]
    steps = [line for line in lines if line["kind"] == "step"]
    metering = [b["totals"]["seconds"]["metering"] - a["totals"]["seconds"]["metering"] for a, b in zip(steps, steps[1:])]
    # The first steps warm up caches and the page cache of the file.
    metering, seconds = metering[5:], [line["seconds"] for line in steps[6:]]
    own = statistics.median(metering) + args.ledger * 1e-6
    return {"example": example, "steps": len(metering), "step_ms": 1e3 * statistics.median(seconds),
            "metering_us": 1e6 * own, "metering_us_mean": 1e6 * statistics.mean(metering) + args.ledger,
            "share": own / statistics.median(seconds),
            "share_of_means": (statistics.mean(metering) + args.ledger * 1e-6) / statistics.mean(seconds),
            "bytes_per_step": sum(len(json.dumps(line, separators=(",", ":"))) + 1 for line in steps) / len(steps)}


def main():
    args = arguments()
    worst = 0
    if not args.json:
        print("%-12s %6s %10s %13s %12s %9s %15s %12s" % (
            "example", "steps", "step ms", "metering us", "mean us", "share", "share of means", "bytes/step"))
    with tempfile.TemporaryDirectory(prefix="suanli-meter-overhead-") as name:
        for example, steps in (("tiny", args.steps), ("bible-small", max(20, args.steps // 10))):
            result = measure(args, pathlib.Path(name), example, steps)
            worst = max(worst, result["share"])
            result.update(ledger_us=args.ledger, target=TARGET, met=result["share"] < TARGET)
            if args.json:
                print(json.dumps(result), flush=True)
                continue
            print("%-12s %6d %10.2f %13.1f %12.1f %8.3f%% %14.3f%% %12.0f" % (
                example, result["steps"], result["step_ms"], result["metering_us"], result["metering_us_mean"],
                100 * result["share"], 100 * result["share_of_means"], result["bytes_per_step"]), flush=True)
    if not args.json:
        print("worst %.3f %% of a step (with %g us for clocks and bookings, stated, not measured here); target %.1f %%: %s" % (
            100 * worst, args.ledger, 100 * TARGET, "met" if worst < TARGET else "missed"))
    sys.exit(1 if worst >= TARGET and not args.no_fail else 0)


if __name__ == "__main__":
    main()
