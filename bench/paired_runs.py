"""Trainings compared in pairs: the same seed twice, with one thing changed. Used by quality.py and codec_quality.py."""
import json
import math
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Half-widths of intervals of 95 % for a mean of n: quantiles of Student's t with n - 1 degrees of freedom.
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def train(suanli, job, run, words):
    """Trains `job` into the folder `run`, or goes on with it."""
    words = [suanli, "train", str(job), "--run", str(run)] + words
    if (run / "run.json").exists():
        words.append("--resume")
    print("training", run, file=sys.stderr)
    if subprocess.run(words, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit("training %s did not finish; call again to go on" % run)


def records(run, kind):
    path = pathlib.Path(run) / "metrics.jsonl"
    if not path.exists():
        return []
    return [record for record in map(json.loads, open(path)) if record["kind"] == kind]


def final_loss(run, steps):
    """The validation loss after the last step; None of a run that has not come so far."""
    return next((r["valid_loss"] for r in records(run, "eval") if r["step"] == steps), None)


def summary(gaps):
    """The mean and the half-width of its interval of 95 %."""
    mean = statistics.mean(gaps)
    if len(gaps) < 2:
        return mean, math.inf
    return mean, STUDENT.get(len(gaps), 1.96) * statistics.stdev(gaps) / math.sqrt(len(gaps))
