#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures, and puts what the commands printed into README.md. On a machine that does nothing else:

    tools/measure.py [BUILD]      BUILD: a release build, build-demo unless given

README.md is untouched where a command fails or says that its measurement is not valid.
"""
import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured: tools/measure.py -->\n", "<!-- /measured -->\n"


def run(*command):
    print(*command, file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=900, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"measure: {' '.join(command)}: status {done.returncode}\n{done.stdout}")
    return done.stdout.rstrip("\n")


def machine():
    cpu = re.search(r"^model name\s*: (.*)$", open("/proc/cpuinfo", encoding="utf-8").read(), re.M)
    virtual = subprocess.run(["systemd-detect-virt", "--vm"], stdout=subprocess.PIPE, text=True).stdout.strip() \
        if os.path.exists("/usr/bin/systemd-detect-virt") else ""
    kind = f", a virtual machine ({virtual})" if virtual not in ("", "none") else ""
    return (f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs{kind}, Linux {platform.release()}, "
            f"libipc {run('git', 'describe', '--always', '--dirty')}, {datetime.date.today()}")


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build-demo").resolve()
    ipc = str(build / "cli" / "ipc")
    demo = run("scripts/demo") if len(sys.argv) < 2 else run("examples/orders/demo.py", "--build", str(build))
    spin = run(ipc, "bench", "rtt", "--bytes", "32", "--wait", "spin")
    futex = run(ipc, "bench", "rtt", "--bytes", "32", "--wait", "futex")
    opened = run(ipc, "bench", "open")
    section = f"""## Measured

On {machine()}. `tools/measure.py` runs these commands and puts what they print here.

1,000 orders of varied size as typed calls between two sandboxes, from the order in memory to the answer in memory, encoding and decoding
included; `scripts/demo`:

```
{demo.split(chr(10) + chr(10))[0]}
```

A synchronous call beside raw ping-pong of the same two processes on the same two CPUs, measured in turns; `ipc bench rtt --bytes 32 --wait spin`:

```
{spin}
```

The same where both sides sleep in the kernel for each message; `ipc bench rtt --bytes 32 --wait futex`:

```
{futex}
```

Opening a channel through the broker; `ipc bench open`:

```
{opened}
```
"""
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        sys.exit(f"measure: README.md has no place for it: {BEGIN.strip()} … {END.strip()}")
    readme.write_text(head + BEGIN + section + END + tail, encoding="utf-8")


main()
