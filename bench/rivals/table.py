#!/usr/bin/env python3
"""Markdown tables of the lines that bench/rivals/run wrote: bench/rivals/table.py [--problems LIST]

LIST has a problem on each line, whose words thr= do not count; without it all are shown. --lines
FILE reads other lines than build/rivals.jsonl.

One table a number of threads, one row a problem, one column a library with its fastest way. Our
cells have the share of the limit, multiply-adds or for decode reading memory, measured in the same
rounds; the others' how long they take in terms of ours. Figures during which other processes took
more than 0.1 cores are marked *, those whose spread exceeds 10 % are marked ~.
"""
import argparse
import json
import pathlib
import re
import sys

NAMES = {"grouphead": "grouphead", "torch": "PyTorch", "onnxruntime": "ONNX Runtime",
         "openvino": "OpenVINO", "jax": "JAX", "keras-torch": "Keras on PyTorch",
         "keras-jax": "Keras on JAX", "openblas": "OpenBLAS", "ggml": "ggml"}
MOST_FOREIGN, MOST_SPREAD = 0.1, 0.1


def read(path):
    """The last figure of each problem, number of threads, library and way."""
    latest = {}
    for text in open(path):
        line = json.loads(text)
        latest[line["problem"], line["threads"], line["library"], line["way"]] = line
    return list(latest.values())


def share(line):
    if re.match(r"lm\.generate|gemm \w+ m\d ", line["problem"]):
        return ""  # they read weights from the caches: neither limit applies
    return f", {line['fraction']:.0%}"


def cell(line, ours):
    spread = line["mad_ms"] / line["median_ms"]
    mark = "*" if line["foreign_cpu"] > MOST_FOREIGN else ""
    mark += "~" if spread > MOST_SPREAD else ""
    text = f"{line['median_ms']:.3g} ms ±{spread:.0%}{mark}"
    if line is ours:
        rate = f", {line['tokens_per_s']:,.0f} tokens/s" if "tokens_per_s" in line else ""
        return text + rate + share(line)
    return text + f", {line['median_ms'] / ours['median_ms']:.2f}x"


def table(lines, threads):
    chosen = [line for line in lines if line["threads"] == threads]
    problems = list(dict.fromkeys(line["problem"] for line in chosen))
    best = {}
    for line in chosen:
        key = line["problem"], line["library"]
        if "why" not in line and (key not in best or line["median_ms"] < best[key]["median_ms"]):
            best[key] = line
    columns = [name for name in NAMES if any(library == name for _, library in best)]
    rows = [f"| {threads} thread{'s' if threads > 1 else ''} | "
            + " | ".join(NAMES[name] for name in columns) + " |",
            "|---" * (len(columns) + 1) + "|"]
    for problem in problems:
        ours = best[problem, "grouphead"]
        cells = [cell(best[problem, name], ours) if (problem, name) in best else "-"
                 for name in columns]
        rows.append(f"| `{problem}` | " + " | ".join(cells) + " |")
    return "\n".join(rows), best


def chosen(lines, path):
    """Those of the problems that a file lists."""
    without_threads = lambda text: [word for word in text.split() if not word.startswith("thr=")]
    wanted = [without_threads(text) for text in open(path)]
    return [line for line in lines if line["problem"].split() in wanted]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", metavar="LIST")
    parser.add_argument("--lines", metavar="FILE",
                        default=pathlib.Path(__file__).resolve().parents[2] / "build/rivals.jsonl")
    options = parser.parse_args()
    lines = read(options.lines)
    if options.problems:
        lines = chosen(lines, options.problems)
    if not lines:
        sys.exit("table.py: no lines")
    ways = {}
    for threads in sorted({line["threads"] for line in lines}):
        text, best = table(lines, threads)
        print(text + "\n")
        for (problem, library), line in best.items():
            if line["way"]:
                ways.setdefault(NAMES[library], set()).add(line["way"])
    measured = [line for line in lines if "why" not in line]
    versions = {NAMES[line["library"]]: line["version"] for line in measured}
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    print("Fastest ways: " + "; ".join(f"{name}: {', '.join(sorted(ways[name]))}"
                                       for name in ways) + ".")
    print(f"{', '.join(sorted({line['cpu'] for line in lines}))}, "
          f"{', '.join(sorted({line['date'] for line in lines}))}; {measured[0]['rounds']} rounds; "
          f"other processes at most {max(line['foreign_cpu'] for line in measured):.2f} cores.")


if __name__ == "__main__":
    main()
