#!/usr/bin/env python3
"""The training steps of `suanli bench` beside the same in Debian's PyTorch, alternately in one run.

    bench/peers/train_step.py                              # every case in bf16
    bench/peers/train_step.py train-step-a --dtype f32 bf16 --rounds 5 --json

Each round runs one process of suanli and one of PyTorch, so that both meet the same neighbours; figures are medians over
rounds. A run during which something else had the cores (CPU seconds per wall second well below the threads) is thrown away
and made again, at most as often as there are rounds. PyTorch gets the settings that are fastest on this kind of machine
(fast_environment below). One of them trades memory for speed, so its peak memory comes from one more, short run with the
default allocator.
"""
import argparse
import glob
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Failure(Exception):
    def __init__(self, message, next_step):
        super().__init__(message)
        self.next_step = next_step


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases of `suanli bench`; none: all")
    parser.add_argument("--dtype", nargs="+", choices=("f32", "bf16"), default=["bf16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each (default 3)")
    parser.add_argument("--steps", type=int, default=0, help="timed steps of a process; 0: about ten seconds")
    parser.add_argument("--least-cpu", type=float, default=0.8,
                        help="throw away runs with less CPU time per wall time and thread (default 0.8)")
    parser.add_argument("--suanli", default=str(ROOT / "build/release/suanli/cli/suanli"), help="the built command")
    parser.add_argument("--python", default="/usr/bin/python3", help="the Python that has torch (default: Debian's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1 or args.steps < 0:
        parser.error("--rounds and --threads are at least 1, --steps at least 0")
    return args


def say(text):
    print(text, file=sys.stderr, flush=True)


def cpu_has_avx512():
    try:
        return " avx512f " in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def fast_environment(threads):
    """OpenBLAS 0.3.21 takes CPUs newer than itself for ones with SSE3 only, so its core type is named. Its OpenMP flavour
    shares PyTorch's threads, where the other one fights them. malloc keeps what it once had instead of giving it back and
    having the kernel clear it again."""
    wide = cpu_has_avx512()
    folders = glob.glob("/usr/lib/*/openblas-openmp")
    if not folders:
        raise Failure("the OpenMP flavour of OpenBLAS is not installed, without which PyTorch is slow",
                      "apt install libopenblas0-openmp")
    return {
        "LD_LIBRARY_PATH": ":".join(folders + [path for path in [os.environ.get("LD_LIBRARY_PATH")] if path]),
        "OPENBLAS_CORETYPE": "SkylakeX" if wide else "Haswell",
        "ATEN_CPU_CAPABILITY": "avx512" if wide else "avx2",
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
        "MALLOC_TOP_PAD_": str(64 << 20),
    }


def run(command, environment):
    """The JSON object that a command prints."""
    ended = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, check=False)
    if ended.returncode != 0:
        raise Failure(" ".join(command) + " ended with " + str(ended.returncode) + ":\n" + ended.stderr.strip(),
                      "run it by itself")
    return json.loads(ended.stdout)


def check_programs(args):
    if not os.access(args.suanli, os.X_OK):
        raise Failure(args.suanli + ": not built yet", "run ./quickstart.sh, or name the built command with --suanli")
    probe = subprocess.run([args.python, "-c", "import torch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           check=False) if os.access(args.python, os.X_OK) else None
    if probe is None or probe.returncode != 0:
        raise Failure(args.python + " has no torch to compare with",
                      "apt install python3-torch libopenblas0-openmp, or name another Python with --python")


def cases_of(args):
    known = {case["case"]: case for case in run([args.suanli, "bench", "--json"], {})["cases"]}
    for name in args.cases:
        if name not in known:
            raise Failure("there is no bench '" + name + "'", "the benches are " + ", ".join(known))
    return [known[name] for name in args.cases or known]


class Pair:
    """The two programs on one case."""

    def __init__(self, case, dtype, args):
        self.case, self.dtype, self.args = case, dtype, args
        common = ["--dtype", dtype, "--threads", str(args.threads)]
        self.suanli = [args.suanli, "bench", case["case"], "--json"] + common
        self.torch = [args.python, str(HERE / "torch_gpt.py")] + common
        for name in ("layers", "heads", "width", "context", "vocab", "batch"):
            self.torch += ["--" + name, str(case[name])]
        self.runs = {"suanli": [], "torch": []}
        self.discarded = {"suanli": 0, "torch": 0}

    def run_one(self, engine):
        args = self.args
        command = getattr(self, engine) + ["--steps", str(args.steps)]
        found = run(command, fast_environment(args.threads) if engine == "torch" else {})
        enough = found["cpu_per_wall"] >= args.least_cpu * args.threads
        say("%s %s %s: %.0f tokens/s, %.2f cores%s" % (self.case["case"], self.dtype, engine, found["tokens_per_s"],
                                                       found["cpu_per_wall"], "" if enough else ", thrown away"))
        if enough:
            self.runs[engine].append(found)
        else:
            self.discarded[engine] += 1

    def measure(self):
        for _ in range(2 * self.args.rounds):
            missing = [engine for engine in self.runs if len(self.runs[engine]) < self.args.rounds]
            for engine in missing:
                self.run_one(engine)
        for engine, found in self.runs.items():
            if not found:
                raise Failure("all runs of " + engine + " were disturbed: other programs had the cores",
                              "end them, use fewer --threads, or lower --least-cpu")
        say("%s %s torch: memory with the default allocator" % (self.case["case"], self.dtype))
        settings = {name: value for name, value in fast_environment(self.args.threads).items()
                    if not name.startswith("MALLOC_")}
        short = run(self.torch + ["--steps", "2"], settings)
        return self.row(short["peak_rss_bytes"])

    def median(self, engine, field):
        return statistics.median(found[field] for found in self.runs[engine])

    def row(self, torch_memory):
        ours, theirs = self.median("suanli", "tokens_per_s"), self.median("torch", "tokens_per_s")
        memory = self.median("suanli", "peak_rss_bytes")
        return {
            "case": self.case["case"],
            "dtype": self.dtype,
            "threads": self.args.threads,
            "torch_version": self.runs["torch"][0]["version"],
            "runs": {engine: len(found) for engine, found in self.runs.items()},
            "discarded": self.discarded,
            "tokens_per_s": {"suanli": ours, "torch": theirs, "ratio": ours / theirs},
            "peak_rss_bytes": {"suanli": memory, "torch": torch_memory, "ratio": memory / torch_memory},
            "start_to_first_step_ms": {engine: self.median(engine, "start_to_first_step_ms") for engine in self.runs},
            "efficiency": self.median("suanli", "efficiency"),
            "tokens_per_s_of_runs": {engine: [found["tokens_per_s"] for found in runs]
                                     for engine, runs in self.runs.items()},
        }


def table(rows):
    lines = [["case", "dtype", "threads", "", "suanli", "torch " + rows[0]["torch_version"], "suanli / torch"]]
    for row in rows:
        speed, memory, start = row["tokens_per_s"], row["peak_rss_bytes"], row["start_to_first_step_ms"]
        lines.append([row["case"], row["dtype"], str(row["threads"]), "tokens/s", "%.0f" % speed["suanli"],
                      "%.0f" % speed["torch"], "%.2f" % speed["ratio"]])
        lines.append(["", "", "", "peak RSS, GiB", "%.2f" % (memory["suanli"] / 2**30), "%.2f" % (memory["torch"] / 2**30),
                      "%.2f" % memory["ratio"]])
        lines.append(["", "", "", "start to first step, s", "%.2f" % (start["suanli"] / 1e3),
                      "%.2f" % (start["torch"] / 1e3), "%.2f" % (start["suanli"] / start["torch"])])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) if column < 4 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    text.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(text)


def main():
    args = arguments()
    try:
        check_programs(args)
        rows = [Pair(case, dtype, args).measure() for case in cases_of(args) for dtype in args.dtype]
    except Failure as failure:
        say("error: " + str(failure))
        say("  next: " + failure.next_step)
        return 1
    print(json.dumps({"rows": rows}) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
