#!/usr/bin/env python3
"""README's table from the lines of `grouphead bench --json`: bench/table.py < lines.json

One row a problem, one column pair a number of threads: median with spread (MAD / median), the rate,
and the share of the limit that was measured in the same run (multiply-adds; reading for decode).
"""
import json
import sys


def rate(line):
    if "tokens_per_s" in line:
        return f"{line['tokens_per_s']:,.0f} tokens/s"
    if line["problem"].startswith("decode"):
        return f"{line['gb_s']:.1f} GB/s"
    return f"{line['gflops']:.0f} GFLOP/s"


def cell(line):
    spread = 100 * line["mad_ms"] / line["median_ms"]
    text = f"{line['median_ms']:.3g} ms ±{spread:.0f} %, {rate(line)}"
    return text if line["problem"].startswith("lm.generate") else f"{text}, {line['fraction']:.0%}"


rows = {}
for text in sys.stdin:
    line = json.loads(text)
    words = line["problem"].split()
    problem = " ".join(w for w in words if not w.startswith("thr="))
    rows.setdefault(problem, {})[line["threads"]] = line

print("| problem | 1 thread | 2 threads |\n|---|---|---|")
for problem, lines in rows.items():
    cells = [cell(lines[n]) if n in lines else "-" for n in (1, 2)]
    print(f"| `{problem}` | {cells[0]} | {cells[1]} |")
foreign = max(line["foreign_cpu"] for lines in rows.values() for line in lines.values())
print(f"\nOther processes took at most {foreign:.2f} cores.")
