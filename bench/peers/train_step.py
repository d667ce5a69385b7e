#!/usr/bin/env python3
"""The training steps of `suanli bench` beside the same in Debian's PyTorch, alternately in one run.

    bench/peers/train_step.py                              # every case in bf16
    bench/peers/train_step.py train-step-a --dtype f32,bf16 --rounds 5 --json

Each round runs one process of suanli and one of PyTorch, so that both meet the same neighbours; figures are medians over
rounds. If something else had the cores during one of the two (CPU seconds per wall second well below the threads), both are
thrown away and made again, at most as often as there are rounds; at least two rounds must be left. PyTorch gets the settings
that are fastest on this kind of machine (fast_environment below). One of them trades memory for speed, so its peak memory
comes from one more, short run with the default allocator.
"""
import argparse
import glob
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DTYPES = ("f32", "bf16")
INTERRUPTED = 130  # as shells say it


class Failure(Exception):
    def __init__(self, message, next_step):
        super().__init__(message)
        self.next_step = next_step


def dtypes(text):
    words = text.split(",")
    for word in words:
        if word not in DTYPES:
            raise argparse.ArgumentTypeError("'%s' is none of %s" % (word, ", ".join(DTYPES)))
    return words


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases of `suanli bench`; none: all")
    parser.add_argument("--dtype", type=dtypes, default=["bf16"], metavar="DTYPE[,DTYPE]",
                        help="f32, bf16 or both, with a comma between them (default bf16)")
    parser.add_argument("--threads", type=int, default=0,
                        help="of each program; 0: as many as suanli takes, the cores of affinity and CPU quota (default 0)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each that count (default 3)")
    parser.add_argument("--steps", type=int, default=0, help="timed steps of a process; 0: about ten seconds")
    parser.add_argument("--least-cpu", type=float, default=0.8, metavar="SHARE",
                        help="throw away rounds with less CPU time per wall time and thread than this (default 0.8)")
    parser.add_argument("--suanli", default=str(ROOT / "build/release/suanli/cli/suanli"), metavar="COMMAND",
                        help="the built command (default: build/release/suanli/cli/suanli)")
    parser.add_argument("--python", default="/usr/bin/python3", metavar="COMMAND",
                        help="the Python that has torch, a path or a name in PATH (default: Debian's, /usr/bin/python3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 0 or args.steps < 0:
        parser.error("--rounds is at least 1, --threads and --steps at least 0")
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


def run(command, environment, fields):
    """The JSON object that a command prints, which has these fields."""
    line = " ".join(command)
    try:
        ended = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, errors="replace", check=False)
    except OSError as error:
        raise Failure("%s cannot be run: %s" % (command[0], error.strerror), "name another program") from error
    if ended.returncode == -signal.SIGINT or ended.returncode == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if ended.returncode != 0:
        raise Failure("%s ended with %d:\n%s" % (line, ended.returncode, ended.stderr.strip()), "run it by itself")
    try:
        found = json.loads(ended.stdout)
    except ValueError as error:
        raise Failure("%s printed no JSON but '%s'" % (line, ended.stdout[:80].strip()), "name another program") from error
    missing = [field for field in fields if not isinstance(found, dict) or field not in found]
    if missing:
        raise Failure("the JSON of %s has no '%s'" % (line, missing[0]), "build suanli of the same version as this script")
    return found


def program(name, option, absent, next_step):
    """The path of a program that can be run."""
    path = shutil.which(name)
    if path is None:
        raise Failure("%s: %s" % (name, absent if not os.path.exists(name) else "not a program"),
                      "%s, or name another with %s" % (next_step, option))
    return os.path.abspath(path)


def check_programs(args):
    args.suanli = program(args.suanli, "--suanli", "not built yet", "run ./quickstart.sh")
    torch = "apt install python3-torch libopenblas0-openmp"
    args.python = program(args.python, "--python", "there is no such program", torch)
    probe = subprocess.run([args.python, "-c", "import torch"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           check=False)
    if probe.returncode != 0:
        raise Failure(args.python + " has no torch to compare with", torch + ", or name another Python with --python")
    if args.threads == 0:
        args.threads = run([args.suanli, "doctor", "--json"], {}, ["cores"])["cores"]


def cases_of(args):
    known = {case["case"]: case for case in run([args.suanli, "bench", "--json"], {}, ["cases"])["cases"]}
    for name in args.cases:
        if name not in known:
            raise Failure("there is no bench '" + name + "'", "the benches are " + ", ".join(known))
    return [known[name] for name in args.cases or known]


FIELDS = ("tokens_per_s", "cpu_per_wall", "peak_rss_bytes", "start_to_first_step_ms")


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
        """What it printed, and whether it had its cores."""
        args = self.args
        command = getattr(self, engine) + ["--steps", str(args.steps)]
        more = ("efficiency",) if engine == "suanli" else ("version",)
        found = run(command, fast_environment(args.threads) if engine == "torch" else {}, FIELDS + more)
        enough = found["cpu_per_wall"] >= args.least_cpu * args.threads
        say("%s %s %s: %.0f tokens/s, %.2f cores%s" % (self.case["case"], self.dtype, engine, found["tokens_per_s"],
                                                       found["cpu_per_wall"], "" if enough else ", disturbed"))
        return found, enough

    def run_round(self):
        found = {engine: self.run_one(engine) for engine in self.runs}
        disturbed = [engine for engine, (_, enough) in found.items() if not enough]
        for engine in disturbed:
            self.discarded[engine] += 1
        if disturbed:
            say("%s %s: that round is thrown away" % (self.case["case"], self.dtype))
            return
        for engine, (run_found, _) in found.items():
            self.runs[engine].append(run_found)

    def measure(self):
        rounds = self.args.rounds
        for _ in range(2 * rounds):
            if len(self.runs["suanli"]) < rounds:
                self.run_round()
        left, least = len(self.runs["suanli"]), min(2, rounds)
        if left < least:
            raise Failure("of %d rounds %d were undisturbed, fewer than %d: other programs had the cores"
                          % (2 * rounds, left, least), "end them, use fewer --threads, or lower --least-cpu")
        say("%s %s torch: memory with the default allocator" % (self.case["case"], self.dtype))
        settings = {name: value for name, value in fast_environment(self.args.threads).items()
                    if not name.startswith("MALLOC_")}
        short = run(self.torch + ["--steps", "2"], settings, ["peak_rss_bytes"])
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
        lines.append(["", "", "", "runs (disturbed)"] + ["%d (%d)" % (row["runs"][engine], row["discarded"][engine])
                                                         for engine in ("suanli", "torch")] + [""])
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
    except KeyboardInterrupt:
        say("stopped: nothing was kept")
        return INTERRUPTED
    print(json.dumps({"rows": rows}) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
