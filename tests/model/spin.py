#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a Promela model with spin, and that it can fail: as it is every state must be right, and with each WEAKEN_… that
the model knows some state must be wrong. Prints TAP, with the numbers of states.

    spin.py --cc "COMMAND …" MODEL.pml [--without WEAKEN_… …]
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile


def verify(directory, defines):
    """(errors, states, what) of one verification."""
    base = os.path.basename(options.model)
    said = subprocess.run(["spin", *defines, "-a", base], cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    # The preprocessor's and spin's complaints; a model that spin is unsure about is no proof.
    if said.returncode or "rror" in said.stdout or not os.path.exists(os.path.join(directory, "pan.c")):
        raise ValueError(f"spin: {said.stdout}")
    subprocess.run([*shlex.split(options.cc), "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=2048", "-o", "pan", "pan.c"],
                   cwd=directory, check=True, timeout=120)
    said = subprocess.run(["./pan", "-m1000000", "-w20"], cwd=directory, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=240)
    errors = re.search(r"errors: (\d+)", said.stdout)
    states = re.search(r"(\d+) states, stored", said.stdout)
    if said.returncode or not errors or not states or re.search(r"max search depth too small|out of memory", said.stdout):
        raise ValueError(f"pan: {said.stdout}")
    what = re.search(r"^pan:\d+: (.*) \(at depth", said.stdout, re.M)
    os.remove(os.path.join(directory, "pan.c"))
    return int(errors[1]), int(states[1]), what[1] if what else None


def check(number, edge):
    name = os.path.basename(options.model)[:-len(".pml")]
    with tempfile.TemporaryDirectory() as directory:
        for file in os.listdir(os.path.dirname(options.model)):
            if file.endswith(".pml"):
                shutil.copy(os.path.join(os.path.dirname(options.model), file), directory)
        try:
            errors, states, what = verify(directory, [f"-D{edge}"] if edge else [])
        except (ValueError, subprocess.SubprocessError, OSError) as error:
            print(f"not ok {number} - {name} {edge or ''}")
            print("\n".join("# " + line for line in str(error).splitlines()), flush=True)
            return False
    if edge:
        ok = errors > 0
        print(f"{'ok' if ok else 'not ok'} {number} - {name} with {edge}: {what or 'nothing is wrong'}", flush=True)
    else:
        ok = errors == 0
        print(f"{'ok' if ok else 'not ok'} {number} - {name}: {what or 'right in all'} of {states} states", flush=True)
    return ok


def weakenings(path):
    """Those of the model and of what it includes."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    found = set(re.findall(r"^#ifn?def (WEAKEN_\w+)", text, re.M))
    for name in re.findall(r'^#include "(.*)"', text, re.M):
        found |= weakenings(os.path.join(os.path.dirname(path), name))
    return found


def main():
    edges = sorted(weakenings(options.model) - set(options.without))
    print(f"1..{len(edges) + 1}")
    results = [check(i, edge) for i, edge in enumerate([None, *edges], 1)]
    return 0 if all(results) and edges else 1


parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--cc", required=True)
parser.add_argument("--without", nargs="*", default=[])
options = parser.parse_args()
sys.exit(main())
