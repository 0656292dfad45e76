#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What was promised of libipc's speed and size, measured, one row a target.

    targets.py IPC CHECKS [--json] [--smoke] [--broker PATH]

IPC and CHECKS are the programs ipc and bench-checks. --smoke measures next to nothing, to see that it all runs.

A row: id, value, unit, raw (the machine's own limit, same unit), ratio (of value to raw, its median over rounds), spread
(the ratio's 95 % confidence interval, else of the value, or p50 to p99), target, met. The interval's worse bound must meet it.
A measurement that is not valid is made again, twice at most.
Exit status: 0 measured, whether met or not; 1 a failure; 3 a measurement that is not valid, its row not met.
"""
import argparse
import json
import subprocess
import sys
import time

INVALID = 3
TRIES = 3


# So little that it says nothing.
SMOKE = {"rtt": ["--rounds", "2"], "stream": ["--rounds", "2"], "large": ["--rounds", "1"], "checks": ["--rounds", "1"],
         "many": ["--rounds", "1", "--channels", "20"], "fanin": ["--channels", "4", "--calls", "3"],
         "idle": ["--channels", "10", "--seconds", "1"], "open": ["--count", "5"]}


class Bench:
    def __init__(self, ipc, checks, smoke, broker):
        self.ipc, self.checks, self.smoke = ipc, checks, smoke
        self.more = ["--broker", broker] if broker else []

    def run(self, *command):
        """What it printed. Progress goes to stderr."""
        name = command[2] if len(command) > 2 else "checks"
        command = [*command, *self.more, *(SMOKE[name] if self.smoke else [])]
        for _ in range(1 if self.smoke else TRIES):
            started = time.monotonic()
            print("bench:", *command[1:], end=" ", file=sys.stderr, flush=True)
            done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=False)
            print(f"({time.monotonic() - started:.0f} s)", file=sys.stderr)
            if done.returncode not in (0, INVALID):
                sys.exit(1)
            if done.returncode == 0:
                break
        return json.loads(done.stdout)

    def measure(self, *arguments):
        return self.run(self.ipc, "bench", *arguments)


def row(name, figures, value, unit, raw, ratio, spread, target, met):
    valid = figures.get("valid", True)
    return {"id": name, "value": value, "unit": unit, "raw": raw, "ratio": ratio, "spread": spread, "target": target,
            "met": valid and met, "valid": valid}


def time_row(name, figures, most):
    return row(name, figures, figures["call_p50_ns"], "ns", figures["raw_p50_ns"], figures["ratio_median"],
               [figures["ratio_low"], figures["ratio_high"]], f"ratio_high <= {most}", figures["ratio_high"] <= most)


def throughput_row(name, figures, part, least, unit):
    part = next(known for known in figures["throughput"] if known["name"] == part)
    value, raw = part["gb_per_s"], part["limit_gb_per_s"]
    if unit == "messages/s":
        value, raw = part["messages_per_s"], raw * 1e9 / figures["bytes"]
    return row(name, figures, value, unit, raw, part["ratio_median"], [part["ratio_low"], part["ratio_high"]],
               f"ratio_low >= {least}", part["ratio_low"] >= least)


def most_row(name, figures, value, unit, spread, most):
    return row(name, figures, value, unit, None, None, spread, f"<= {most}", value <= most)


def calls(bench):
    spin = bench.measure("rtt", "--bytes", "32", "--rounds", "1000")
    yield time_row("rtt_32_spin", spin, 1.2)
    yield time_row("rtt_1k_spin", bench.measure("rtt", "--bytes", "1024", "--rounds", "500"), 1.35)
    yield time_row("rtt_32_futex", bench.measure("rtt", "--bytes", "32", "--wait", "futex", "--rounds", "200"), 1.1)
    yield most_row("shared_bytes", spin, spin["shared_bytes"], "bytes", None, 144 * 1024)


def streams(bench):
    stream = bench.measure("stream", "--bytes", "64")
    yield throughput_row("stream_64", stream, "stream", 0.7, "messages/s")
    yield throughput_row("stream_64_batched", stream, "batched", 0.8, "messages/s")
    yield most_row("stream_64_wakes", stream, stream["wakes_per_million"], "wakes per million messages", None, 10)
    yield throughput_row("large_1m", bench.measure("large"), "stream", 0.9, "GB/s")


def checks(bench):
    figures = bench.run(bench.checks)
    yield row("checks", figures, figures["price_ns"], "ns a message", None, None,
              [figures["price_low_ns"], figures["price_high_ns"]], "<= 10", figures["price_high_ns"] <= 10)


def channels(bench):
    many = bench.measure("many")
    one, most = many["parts"][0], many["parts"][-1]
    yield row("many_4000", many, most["batch_p50_ns"], "ns", one["batch_p50_ns"], most["ratio_median"],
              [most["ratio_low"], most["ratio_high"]], "ratio_high <= 1.3", most["ratio_high"] <= 1.3)
    fanin = bench.measure("fanin")
    yield most_row("fanin_64", fanin, fanin["between_max"], "requests", [fanin["between_p50"], fanin["between_p99"]],
                   fanin["bound"])
    idle = bench.measure("idle")
    # Less is printed as 0.0 %.
    yield most_row("idle_cpu", idle, idle["cpu_percent"], "% of a CPU", None, 0.05)
    used = idle["shared_bytes"] + idle["other_shared_bytes"]
    yield row("idle_memory", idle, used, "bytes", idle["configured_bytes"], used / idle["configured_bytes"], None, "= raw",
              used == idle["configured_bytes"])


def opening(bench):
    opened = bench.measure("open")
    yield most_row("open", opened, opened["open_p50_ns"] / 1e3, "us", [opened["open_p50_ns"] / 1e3, opened["open_p99_ns"] / 1e3],
                   500)


def text(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " to ".join(text(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ipc")
    parser.add_argument("checks")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--broker")
    options = parser.parse_args()
    bench = Bench(options.ipc, options.checks, options.smoke, options.broker)
    measured = [row for part in (calls, streams, checks, channels, opening) for row in part(bench)]
    valid = all([row.pop("valid") for row in measured])
    if options.json:
        print(json.dumps(measured, indent=1))
    else:
        table = [list(measured[0])] + [[text(v) for v in row.values()] for row in measured]
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        for line in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 0 if valid else INVALID


if __name__ == "__main__":
    sys.exit(main())
