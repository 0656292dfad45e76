#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the ring's code in one place at a time, and lets the explorer look: each mutant must be found by one of its
programs, or something is not tested. Prints TAP, with the program and what it found.

Every WEAKEN_<edge> of libipc/ring/edges.h is a mutant, by grep, so that a new edge needs a test. The others are here.

    mutants.py --source DIR --explorer libexplorer.a --cc "COMMAND …" PROGRAM …
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

RING, MODEL = "libipc/ring", "tests/model"

# What it breaks; where; what is there; what is there instead.
MUTANTS = [
    ("the next commit word is not blanked", "publish.h",
     "if (p->blank != p->head + bytes)", "if (0)"),
    ("room written all over counts as blank still", "publish.h",
     "if (p->blank < p->head + bytes)", "if (0)"),
    ("a ring is filled to the last line", "publish.h",
     "(p->head - p->peer_consumed) - IPCI_LINE_BYTES;", "(p->head - p->peer_consumed);"),
    ("blanks ahead without room", "publish.h",
     "if (ipci_producer_free_bytes(p) < bytes)\n\t\treturn;", ""),
    ("no padding between the frames of a batch", "publish.h",
     re.compile(r"ipci_producer_put_padding\(p, at .*?\);", re.S), "(void)at;"),
    ("the header is written behind its commit word", "publish.h",
     "\tframe->call_id = call_id;\n", ""),
    ("told before it was read", "consume.h",
     "return c->n_held ? c->held[c->held_first].position : c->tail;", "return c->tail + IPCI_LINE_BYTES;"),
    ("an epoch for all sleeps", "signal.h", "sleep->epoch++;", "sleep->epoch = 1;"),
    ("the sleeper does not fence", "signal.h",
     re.compile(r"(void ipci_sleep_arm\(.*?)\tipci_sleep_fence\(\);", re.S), r"\1"),
    ("the waker does not fence", "signal.h",
     re.compile(r"(ipci_wake_wanted\(const .*?)\tipci_sleep_fence\(\);", re.S), r"\1"),
    ("the compiler may turn a publication and the look at who is awake round", "signal.h",
     "ipci_awake_order();", ""),
    ("the bell word is noted after arming", "model.h",
     re.compile(r"(\tuint32_t bell) = (ipci_bell_frames\(.*?\));\n\n(\tmodel_arm\(.*?\);\n)"),
     r"\1;\n\n\3\tbell = \2;\n"),
    ("does not look again after arming", "model.h", "if (!ipci_consumer_ready(&side->rx))", "if (1)"),
    ("the bell is drained after arming", "sleep-bell.c",
     re.compile(r"(\tmodel_bell_drain\(1\);\n)(\t*ipci_sleep_arm\(.*?\);\n)"), r"\2\1"),
    ("the end is taken for the end of frames", "state.c",
     "if (!model_get(&b, n))\n\t\t\t\tbreak;\n\t\t\tn++;", "break;"),
]


def mutate(directory, name, old, new):
    path = next(p for d in (RING, MODEL) if os.path.exists(p := os.path.join(directory, d, name)))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text, n = old.subn(new, text) if isinstance(old, re.Pattern) else (text.replace(old, new), text.count(old))
    if n != 1:
        raise ValueError(f"{name}: what is to be broken is there {n} times")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def explore(directory, program, defines):
    """What the program's exploration found, or None."""
    output = os.path.join(directory, "explore")
    subprocess.run([*shlex.split(options.cc), "-std=c17", "-D_GNU_SOURCE", "-O1", "-w", "-DMODEL_EXPLORE", *defines,
                    "-fsanitize=thread", "-fno-builtin-memset", "-iquote", os.path.join(directory, RING),
                    "-iquote", os.path.join(directory, MODEL), "-c", os.path.join(directory, MODEL, program + ".c"),
                    "-o", output + ".o"], check=True, timeout=120)
    subprocess.run([*shlex.split(options.cc), "-Wl,--wrap=memset", output + ".o", options.explorer, "-o", output],
                   check=True, timeout=120)
    run = subprocess.run([output], stdout=subprocess.PIPE, text=True, timeout=120)
    said = re.search(r"^not ok 1 - \S+ (.*)$", run.stdout, re.M)
    if run.returncode == 0 and not said:
        return None
    # An end by a signal is no finding: the explorer itself may be broken.
    if run.returncode != 1 or not said:
        raise ValueError(f"{program} ended with {run.returncode}:\n{run.stdout}")
    return said[1]


def kill(what, defines=(), *mutation):
    """(program, what it found) for the first that finds the mutant; None: it lives."""
    with tempfile.TemporaryDirectory() as directory:
        for part in (RING, MODEL):
            shutil.copytree(os.path.join(options.source, part), os.path.join(directory, part))
        if mutation:
            mutate(directory, *mutation)
        for program in options.programs:
            found = explore(directory, program, defines)
            if found:
                return program, found
    return None


def main():
    with open(os.path.join(options.source, RING, "edges.h"), encoding="utf-8") as file:
        edges = sorted(set(re.findall(r"\bWEAKEN_([A-Z]+)\b", file.read())))
    mutants = [(f"without {edge}", (f"-DWEAKEN_{edge}",)) for edge in edges]
    mutants += [(what, (), *mutation) for what, *mutation in MUTANTS]
    failed = False
    print(f"1..{len(mutants)}")
    for i, mutant in enumerate(mutants, 1):
        try:
            found = kill(*mutant)
            print(f"{'ok' if found else 'not ok'} {i} - {mutant[0]}:", ": ".join(found) if found else "nothing finds it",
                  flush=True)
            failed |= not found
        except (ValueError, subprocess.SubprocessError) as error:
            failed = True
            print(f"not ok {i} - {mutant[0]}")
            print("\n".join("# " + line for line in str(error).splitlines()), flush=True)
    return 1 if failed or len(edges) < 5 else 0


parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True)
parser.add_argument("--explorer", required=True)
parser.add_argument("--cc", required=True)
parser.add_argument("programs", nargs="+")
options = parser.parse_args()
sys.exit(main())
