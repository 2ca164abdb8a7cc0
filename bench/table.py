#!/usr/bin/env python3
"""README's table from the lines of `grouphead bench --json`: bench/table.py < lines.json

One row a problem, one column a number of threads: median with spread (MAD / median), the rate, and
its share of the nearer limit that was measured in the same run: multiply-adds or reading memory.
"""
import json
import sys


def cell(line):
    memory = line["gb_s"] / line["limit_gb_s"]
    share = f", {max(line['fraction'], memory):.0%}"
    if line["problem"].startswith("lm.generate"):  # works from the caches: neither limit applies
        share = ""
    if "tokens_per_s" in line:
        rate = f"{line['tokens_per_s']:,.0f} tokens/s"
    elif memory > line["gflops"] / line["limit_gflops"]:
        rate = f"{line['gb_s']:.1f} GB/s"
    else:
        rate = f"{line['gflops']:.0f} GFLOP/s"
    spread = line["mad_ms"] / line["median_ms"]
    return f"{line['median_ms']:.3g} ms ±{spread:.0%}, {rate}{share}"


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
