#!/usr/bin/env python3
"""Compares grouphead with the installed Keras on random layers and on model files; makes failing layers small. And a sentence encoder
with sentence-transformers.

    python live.py --program build/release/grouphead --out build/live [--layers A,B] SEED...

Exit: 0 when every case agrees, 1 when not.
"""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import draws  # noqa: E402

LARGEST_NUMBER_MADE_SMALL = 3


def generate(seed, folder, arguments):
    """The exit code of generate.py; its output goes to a file in the folder."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "generate.log"), "w") as log:
        return subprocess.run([sys.executable, os.path.join(HERE, "generate.py"), "--seed", str(seed), "--out", folder,
                               *arguments], stdout=log, stderr=subprocess.STDOUT).returncode


def check(program, folder):
    """The failures as {case: text}, and the last line of the program."""
    result = subprocess.run([program, "check", "--quiet", "--golden", folder], capture_output=True, text=True)
    if result.returncode not in (0, 1):
        sys.exit("%s\n%s" % (result.stderr, "grouphead check ended with %d" % result.returncode))
    failures, name = {}, None
    lines = result.stdout.splitlines()
    for line in lines[:-1]:
        if line.startswith("FAILED "):
            name = line.split()[1].rstrip(":")
            failures[name] = line[7:]
        elif name:
            failures[name] += "\n" + line
    return failures, lines[-1]


def failing(program, seed, folder, name, kind, candidates):
    """Which of the options still fail, and how."""
    plan = os.path.join(folder, "candidates.json")
    os.makedirs(folder, exist_ok=True)
    # What stands behind "~" tells the files apart; the numbers are drawn by what stands before it.
    with open(plan, "w") as f:
        json.dump([["%s~%d" % (name, i), kind, o] for i, o in enumerate(candidates)], f)
    generate(seed, folder, ["--plan", plan])
    failures, _ = check(program, folder)
    return {i: failures["%s~%d" % (name, i)] for i in range(len(candidates)) if "%s~%d" % (name, i) in failures}


def make_small(program, seed, folder, name, kind, options):
    """Takes options away as long as the case still fails."""
    while True:
        steps = list(draws.smaller(options))
        if not steps:
            return options
        failed = failing(program, seed, folder, name, kind, [o for _, o in steps])
        if not failed:
            return options
        together = options
        for i in failed:
            key = steps[i][0]
            together = {**together, **({key: draws.NEUTRAL[key]} if key in options else
                                       {"kw": {k: v for k, v in together["kw"].items() if k != key}})}
        options = together if failing(program, seed, folder, name, kind, [together]) else steps[min(failed)][1]


def run_seed(program, seed, out, layers):
    folder = os.path.join(out, "seed-%d" % seed)
    if generate(seed, folder, ["--layers", ",".join(layers)]) != 0:
        sys.exit(open(os.path.join(folder, "generate.log")).read()[-3000:] + "\nseed %d: not generated" % seed)
    print(open(os.path.join(folder, "generate.log")).read().splitlines()[-1])
    failures, summary = check(program, folder)
    print("seed %d: %s" % (seed, summary), flush=True)
    plan = {name: (kind, options) for name, kind, options in json.load(open(os.path.join(folder, "plan.json")))}
    for text in failures.values():
        print("FAILED " + text)
    for name in [n for n in failures if n in plan][:LARGEST_NUMBER_MADE_SMALL]:
        kind, options = plan[name]
        small = make_small(program, seed, os.path.join(out, "smaller"), name, kind, options)
        print("seed %d, %s, as small as it fails:\n  %s" % (seed, name, json.dumps(small)), flush=True)
    return not failures


def check_script(script, program, out, seeds):
    """A script of this folder; the program of files is built with the tests."""
    files = os.path.join(os.path.dirname(program), "tests", "live_files")
    return subprocess.run([sys.executable, os.path.join(HERE, script + ".py"), "--program", program, "--files", files,
                           "--out", out, *map(str, seeds)]).returncode == 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--program", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--layers", default="", help="only these, comma-separated; `training` is the AdamW trajectory, `files` model files, "
                    "`operations` models of operations, `quantized` quantized ones, `sentences` a pretrained sentence encoder, `conversion` Hugging Face "
                    "folders with fewer key/value heads")
    ap.add_argument("seeds", type=int, nargs="+")
    a = ap.parse_args()
    layers = [n for n in a.layers.split(",") if n]
    if not layers:
        names = subprocess.run([a.program, "info", "--layers"], capture_output=True, text=True, check=True).stdout
        # Classes without a drawing of their own are in the models of `files`, or have golden vectors alone.
        layers = [n for n in names.split() if n in draws.DRAWS] + ["training", "files", "operations", "quantized", "sentences",
                                                                   "conversion"]
    passed = []
    for script in ("files", "operations", "quantized", "sentences", "conversion"):
        if script in layers:
            layers.remove(script)
            passed.append(check_script(script, a.program, a.out, a.seeds))
    if layers:
        passed += [run_seed(a.program, seed, a.out, layers) for seed in a.seeds]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
