#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each store that a peer sees has its place to die, and only the build that asks for them has any. Prints TAP.

    test-points.py --source DIR --nm NM --library FILE --crash-library FILE
"""
import argparse
import glob
import os
import re
import subprocess

parser = argparse.ArgumentParser()
for option in ["source", "nm", "library", "crash-library"]:
    parser.add_argument("--" + option, required=True)
options = parser.parse_args()

STORE = re.compile(r"\b(atomic_store\w*|atomic_fetch_\w+|atomic_exchange\w*|ipci_zero_tail)\(|\bframe->\w+ = ")
DEFINITION = re.compile(r"\bstatic inline\b")
POINT = re.compile(r"\bIPCI_CRASH_POINT\(\w+\);")


def without_comments(text):
    return re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def bare_stores():
    """Stores of the ring layer before which their function passes no point since the store before."""
    bare = []
    paths = glob.glob(os.path.join(options.source, "libipc/ring/*.[ch]"))
    assert len(paths) >= 6, paths
    for path in sorted(paths):
        since = 99
        for number, line in enumerate(without_comments(open(path, encoding="utf-8").read()).split("\n"), 1):
            if POINT.search(line):
                since = 0
            elif STORE.search(line) and not DEFINITION.search(line):
                if since > 6:
                    bare.append(f"{os.path.basename(path)}:{number}: {line.strip()}")
            elif line.strip():
                since += 1
    return bare


def defines_or_uses(path):
    out = subprocess.run([options.nm, path], capture_output=True, text=True, check=True).stdout
    return "ipci_crash_point" in out


bare = bare_stores()
print("1..2")
print("ok 1" if not bare else "not ok 1", "- every store of the ring has a point before it")
for store in bare:
    print("#", store)
only = not defines_or_uses(options.library) and defines_or_uses(options.crash_library)
print("ok 2" if only else "not ok 2", "- only the build that asks for them has points")
raise SystemExit(bool(bare) or not only)
