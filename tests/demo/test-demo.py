#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demonstration, from the outside: what it prints, what it answers to failure, and that it leaves nothing.

usage: test-demo.py BUILD-DIRECTORY; prints TAP. Whatever the demonstration leaves running becomes a child of this
process, whatever it leaves on disk stays in the temporary directory that it is given.
"""
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "examples" / "orders" / "demo.py"
TIMEOUT_S = 240


def children():
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        if int(fields.split()[1]) == os.getpid():
            found.append(name)
    return found


class Run:
    """One run in a temporary directory of its own, and what must be gone after it."""

    def __init__(self, *arguments, build=BUILD):
        self.temporary = tempfile.mkdtemp(prefix="test-demo-", dir="/tmp")
        self.mounts = pathlib.Path("/proc/self/mounts").read_text()
        # No leak check inside the sandboxes: it would trace, which their filter refuses.
        environment = os.environ | {"TMPDIR": self.temporary, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") +
                                    ":detect_leaks=0"}
        self.process = subprocess.Popen([DEMO, "--build", build, *arguments], env=environment, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self):
        try:
            out, err = self.process.communicate(timeout=TIMEOUT_S)
            assert not children(), f"left running: {children()}"
            assert not os.listdir(self.temporary), f"left on disk: {os.listdir(self.temporary)}"
            assert pathlib.Path("/proc/self/mounts").read_text() == self.mounts, "left mounted"
            return self.process.returncode, out, err
        finally:
            self.process.kill()
            shutil.rmtree(self.temporary, ignore_errors=True)


def json_is_the_table_and_totals_agree():
    status, out, err = Run("--json", "--passes", "2").end()
    assert status == 0, err
    data = json.loads(out)
    assert list(data) == ["orders", "totals_agree", "rows"], list(data)
    assert data["orders"] == 1000 and data["totals_agree"] is True, out
    assert [row["path"] for row in data["rows"]] == ["raw", "libipc-spin", "libipc-futex", "json-http"], out
    for row in data["rows"]:
        assert list(row) == ["path", "p50_ns", "p99_ns", "p999_ns", "calls_per_s"], row
        assert all(isinstance(row[key], int) for key in list(row)[1:]), row
        assert 0 < row["p50_ns"] <= row["p99_ns"] <= row["p999_ns"] and row["calls_per_s"] > 0, row


def table_has_words_and_no_colour_off_a_terminal():
    status, out, err = Run("--passes", "1").end()
    assert status == 0, err
    for words in ("raw ping-pong", "libipc, spinning", "libipc, blocking", "JSON/HTTP", "What was shown"):
        assert words in out, out
    assert "\033" not in out + err


def stopped_by(number, line):
    run = Run("--passes", "1000")
    while line not in (seen := run.process.stderr.readline()):
        assert seen, "it ended before it could be stopped"
    run.process.send_signal(number)
    status, _, err = run.end()
    assert status == 1 and number.name in err, (status, err)


def ctrl_c_leaves_nothing():
    stopped_by(signal.SIGINT, "orders by libipc, spinning")


def sigterm_at_the_start_leaves_nothing():
    stopped_by(signal.SIGTERM, "starting ipc-broker")


def a_program_that_fails_is_named_and_leaves_nothing():
    with tempfile.TemporaryDirectory() as other:
        shutil.copytree(BUILD / "broker", f"{other}/broker", ignore=lambda _, names: set(names) - {"ipc-broker"})
        os.mkdir(f"{other}/examples")
        for name in ("orders-client", "ipc-seccomp"):
            os.symlink(BUILD / "examples" / name, f"{other}/examples/{name}")
        os.symlink("/bin/false", f"{other}/examples/orders-server")
        status, out, err = Run("--json", build=other).end()
    assert status == 1 and out == "" and "orders-server (spin) ended with status 1" in err, (status, out, err)


def a_missing_program_is_named():
    status, out, err = Run(build="/nowhere").end()
    assert status == 1 and out == "" and "/nowhere/broker/ipc-broker is missing" in err, (status, out, err)


def why_not():
    """Why no sandbox can be made here, or None."""
    if not shutil.which("bwrap"):
        return "bwrap is missing (Debian: bubblewrap)"
    tried = subprocess.run(["bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
                            "--unshare-cgroup", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"],
                           capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no sandbox here: {tried.stderr.strip()}"


def main():
    tests = [json_is_the_table_and_totals_agree, table_has_words_and_no_colour_off_a_terminal, ctrl_c_leaves_nothing,
             sigterm_at_the_start_leaves_nothing, a_program_that_fails_is_named_and_leaves_nothing,
             a_missing_program_is_named]
    reason = why_not()
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        name = test.__name__
        if reason and test is not a_missing_program_is_named:
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            continue
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Exception as problem:
            words = f"{type(problem).__name__}: {problem}".replace("\n", "\n# ")
            print(f"not ok {number} - {name}\n# {words}", flush=True)


main()
