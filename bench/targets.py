#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What was promised of libipc's speed and size, measured, one row a target.

    targets.py IPC [--json]

A row: id, value, unit, raw (the machine's own limit, same unit), ratio (of value to raw, its median over rounds), spread
(the ratio's 95 % confidence interval, else p50 to p99), target, met. For ratios the interval's upper bound must meet it.
Exit status: 0 measured, whether met or not; 1 a failure; 3 a measurement that is not valid, its row not met.
"""
import json
import subprocess
import sys

INVALID = 3


def measure(ipc, *arguments):
    done = subprocess.run([ipc, "bench", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, INVALID):
        sys.exit(1)
    return json.loads(done.stdout)


def ratio_row(name, figures, target):
    return {"id": name, "value": figures["call_p50_ns"], "unit": "ns", "raw": figures["raw_p50_ns"],
            "ratio": figures["ratio_median"], "spread": [figures["ratio_low"], figures["ratio_high"]],
            "target": f"ratio_high <= {target}", "met": figures["valid"] and figures["ratio_high"] <= target,
            "valid": figures["valid"]}


def plain_row(name, value, unit, spread, target):
    return {"id": name, "value": value, "unit": unit, "raw": None, "ratio": None, "spread": spread,
            "target": f"<= {target}", "met": value <= target, "valid": True}


def rows(ipc):
    spin = measure(ipc, "rtt", "--bytes", "32", "--wait", "spin", "--rounds", "1000")
    yield ratio_row("rtt_32_spin", spin, 1.3)
    yield ratio_row("rtt_32_futex", measure(ipc, "rtt", "--bytes", "32", "--wait", "futex", "--rounds", "200"), 1.2)
    opened = measure(ipc, "open")
    yield plain_row("open", opened["open_p50_ns"] / 1e3, "us", [opened["open_p50_ns"] / 1e3, opened["open_p99_ns"] / 1e3], 500)
    yield plain_row("shared_bytes", spin["shared_bytes"], "bytes", None, 144 * 1024)


def text(value):
    if value is None:
        return "-"
    if isinstance(value, list):
        return " to ".join(text(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--json"]):
        sys.stderr.write(__doc__)
        return 2
    measured = list(rows(sys.argv[1]))
    valid = all(row.pop("valid") for row in measured)
    if sys.argv[2:]:
        print(json.dumps(measured, indent=1))
    else:
        table = [list(measured[0])] + [["yes" if v is True else "no" if v is False else text(v) for v in row.values()]
                                       for row in measured]
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        for line in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 0 if valid else INVALID


if __name__ == "__main__":
    sys.exit(main())
