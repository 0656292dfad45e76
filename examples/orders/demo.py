#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two sandboxed programs, one of which places orders with the other: over libipc, and over JSON/HTTP.

Starts ipc-broker, then for each way of calling the two programs in their sandboxes; checks what they report; prints
one table. Whatever happens, Ctrl-C included, every process is gone and every file removed when this ends.
"""
import argparse
import ctypes
import json
import os
import pathlib
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SANDBOX = HERE.parent.parent / "containers" / "sandbox"
ORDERS = HERE / "orders.jsonl"
NAMESPACES = ["user", "pid", "net", "ipc", "mnt", "uts", "cgroup"]
STEP_S = 20    # bound on every single thing that is waited for, the measurements aside
PHASE_S = 120  # bound on one way of calling

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """What went wrong, in words for the user."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def io_uring_allowed_here():
    fd = libc.syscall(425, 1, ctypes.create_string_buffer(120))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


class Signals:
    """What ends the demonstration early, once; held back where half a step would be left behind."""

    ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self):
        self.held = False
        self.came = None

    def catch(self):
        for number in self.ENDING:
            signal.signal(number, self.handle)

    def ignore(self):
        for number in self.ENDING:
            signal.signal(number, signal.SIG_IGN)

    def handle(self, number, _):
        self.came = number
        if not self.held:
            self.ignore()
            raise Failure(f"stopped by {signal.Signals(number).name}")

    def __enter__(self):
        self.held = True

    def __exit__(self, *_):
        self.held = False
        if self.came:
            self.handle(self.came, None)


signals = Signals()


class Stage:
    """Owns everything that must not outlive the demonstration."""

    def __enter__(self):
        # Orphans of a sandbox become children of this process, so that their end can be waited for.
        libc.prctl(36, 1, 0, 0, 0)
        # A socket's path has 107 bytes at most.
        where = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
        self.processes = []
        self.fds = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ipc-demo-", dir=where))
        return self

    def start(self, name, command, keep_fds=(), **popen):
        log = open(self.directory / f"{name}.log", "w+b")
        with signals:
            process = subprocess.Popen([str(word) for word in command], stderr=log, pass_fds=keep_fds,
                                       start_new_session=True, **popen)
            process.name, process.log = name, log
            self.processes.append(process)
        return process

    def memfd(self, name, size):
        fd = os.memfd_create(name, 0)
        os.ftruncate(fd, size)
        self.fds.append(fd)
        return fd

    def end(self, process):
        """Ends one process; a sandbox goes with its bwrap."""
        if process.stdin:
            process.stdin.close()
        for stop in (process.terminate, process.kill):
            if process.poll() is None:
                stop()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
        if process.stdout:
            process.stdout.close()
        process.log.close()

    def __exit__(self, *_):
        signals.ignore()
        for process in reversed(self.processes):
            self.end(process)
        reap(time.monotonic() + 5)
        for fd in self.fds:
            os.close(fd)
        shutil.rmtree(self.directory, ignore_errors=True)


def reap(deadline):
    """Waits until no child is left, orphans included."""
    try:
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
    except ChildProcessError:
        pass


def words_of(process):
    """What a process that failed said, on one line."""
    process.log.seek(0)
    return " / ".join(process.log.read().decode(errors="replace").split("\n")).strip(" /") or "it said nothing"


def failed(process):
    status = process.poll()
    how = "does not answer" if status is None else f"ended with status {status}"
    return Failure(f"{process.name} {how}: {words_of(process)}")


def read_line(process, timeout_s):
    """One line from a process, under a bound."""
    deadline = time.monotonic() + timeout_s
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            if not selector.select(max(0, deadline - time.monotonic())):
                raise failed(process)
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
                raise failed(process)
            data += more
    return data


def read_json(process, timeout_s):
    return json.loads(read_line(process, timeout_s))


def finish(process, timeout_s=STEP_S):
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise failed(process) from None
    if status != 0:
        raise failed(process)


def start_broker(stage, programs):
    """The broker sees a sandboxed workload as the user who started the sandbox: inside, that user is 65532."""
    sockets = stage.directory / "ipc"
    policy = stage.directory / "policy.yaml"
    sockets.mkdir(mode=0o755)
    policy.write_text(f"""\
version: 1
sockets: {sockets}
workloads:
  shop:
    identity: {{ uid: {os.getuid()} }}
    serve: [shop.Orders]
  web:
    identity: {{ uid: {os.getuid()} }}
    call: {{ shop.Orders: [Place] }}
""")
    broker = stage.start("ipc-broker", ["setpriv", "--pdeathsig", "TERM", programs["broker"], "--policy", policy,
                                        "--sockets", sockets], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if read_line(broker, STEP_S) != b"ready\n":
        raise failed(broker)
    return sockets


def sandbox(programs, name, options, program, arguments):
    return [SANDBOX, "--seccomp", programs["seccomp"], "--name", name, *options, "--", program, *arguments]


def run_phase(stage, programs, sockets, wait, passes):
    """Both programs, one way of calling. wait: how libipc waits, or None for HTTP. Returns both reports."""
    label = wait or "http"
    keep_fds = ()
    if wait:
        fd = stage.memfd("raw", 4096)
        keep_fds = (fd,)
        common = ["--transport", "ipc", "--raw-fd", fd]
        shop = ["--broker", sockets / "shop", "--setenv", "IPC_WAIT", wait]
        web = ["--broker", sockets / "web", "--setenv", "IPC_WAIT", wait]
    else:
        shared = stage.directory / "http"
        shared.mkdir(mode=0o700)
        common = ["--transport", "http"]
        shop = ["--bind", shared, "/run/http"]
        web = ["--ro-bind", shared, "/run/http"]

    server = stage.start(f"orders-server ({label})",
                         sandbox(programs, "shop", ["--refuse-io-uring", *shop], programs["server"], common),
                         keep_fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    shop_report = read_json(server, STEP_S)
    client = stage.start(f"orders-client ({label})",
                         sandbox(programs, "web", ["--ro-bind", ORDERS, "/app/orders.jsonl", *web], programs["client"],
                                 ["--orders", "/app/orders.jsonl", "--passes", passes, *common]),
                         keep_fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    web_report = read_json(client, PHASE_S)
    finish(client)
    server.stdin.close()
    shop_report |= read_json(server, STEP_S)
    finish(server)
    return shop_report, web_report


def be_refused(stage, programs, sockets):
    """The client again, now as the workload that may only serve. Returns how the broker refused it."""
    client = stage.start("orders-client (as shop)",
                         sandbox(programs, "shop", ["--broker", sockets / "shop", "--ro-bind", ORDERS, "/app/orders.jsonl"],
                                 programs["client"], ["--transport", "ipc", "--orders", "/app/orders.jsonl"]),
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        status = client.wait(STEP_S)
    except subprocess.TimeoutExpired:
        raise failed(client) from None
    words = words_of(client)
    if status != 1 or "shop.Orders" not in words:
        raise Failure(f"shop may not call itself, yet its call ended with status {status}: {words}")
    return words


def check_sandbox(report, other, name, http):
    """Every promise about a sandbox, against what was found from inside."""
    facts = report["facts"]
    expected = {
        "Uid": "65532", "Gid": "65532", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2",
        "hostname": name, "interfaces": ["lo"], "processes": 2, "root_read_only": True,
        "run": ["http"] if http else ["ipc"], "run_ipc": None if http else ["broker.sock"],
        "broker_read_only": None if http else True, "internet": "ENETUNREACH",
        "filter": {"unshare": "EPERM", "keyctl": "EPERM", "process_vm_readv": "EPERM"},
    }
    if name == "shop":
        expected["io_uring"] = "EPERM"
    elif io_uring_allowed_here():
        expected["io_uring"] = "allowed"
    for fact, value in expected.items():
        if facts.get(fact) != value:
            raise Failure(f"the sandbox of {name} is not what it should be: {fact} is {facts.get(fact)}, not {value}")
    if not set(facts["root"]) <= {"app", "dev", "lib", "lib64", "proc", "run"}:
        raise Failure(f"the root of {name} holds more than it should: {' '.join(sorted(facts['root']))}")
    for namespace in NAMESPACES:
        seen = facts["namespaces"][namespace]
        if seen is None or seen in (os.readlink(f"/proc/self/ns/{namespace}"),
                                    other["facts"]["namespaces"][namespace]):
            raise Failure(f"{name} has no {namespace} namespace of its own")


def check_phase(shop, web, passes, http):
    check_sandbox(shop, web, "shop", http)
    check_sandbox(web, shop, "web", http)
    if http and web["connection"]["connections"] != 1:
        raise Failure("HTTP did not keep its connection alive")
    if not http and web["connection"]["peer"] != "shop":
        raise Failure("the broker named another workload as the server")
    # The shop also counted the pass that warmed up.
    if shop["totals"] != times(web["totals"], passes + 1):
        raise Failure(f"the shop took {shop['totals']}, the client placed {web['totals']} in each of {passes + 1} passes")


def times(totals, n):
    nanos = totals["money"]["nanos"] * n
    return {"orders": totals["orders"] * n, "lines": totals["lines"] * n, "items": totals["items"] * n,
            "money": {"units": totals["money"]["units"] * n + nanos // 10**9, "nanos": nanos % 10**9}}


def row(path, measured):
    return {"path": path} | {key: measured[key] for key in ("p50_ns", "p99_ns", "p999_ns", "calls_per_s")}


def run(programs, passes):
    with Stage() as stage:
        say("demo: starting ipc-broker")
        sockets = start_broker(stage, programs)
        refusal = be_refused(stage, programs, sockets)
        reports = {}
        for label, wait in (("libipc, spinning", "spin"), ("libipc, blocking", "futex"), ("JSON over HTTP", None)):
            say(f"demo: {passes} x {sum(1 for _ in open(ORDERS, 'rb'))} orders by {label}")
            reports[wait or "http"] = shop, web = run_phase(stage, programs, sockets, wait, passes)
            check_phase(shop, web, passes, wait is None)
        return reports, refusal


def duration(ns):
    return f"{ns / 1000:,.2f} us"


def print_table(rows, raw_of):
    http = rows[-1]["p50_ns"]
    print(f"{'':18}{'p50':>12}{'p99':>12}{'p99.9':>14}{'calls/s':>13}{'x raw':>9}{'HTTP / this':>13}")
    names = {"raw": "raw ping-pong", "libipc-spin": "libipc, spinning", "libipc-futex": "libipc, blocking",
             "json-http": "JSON/HTTP"}
    for one in rows:
        print(f"{names[one['path']]:18}{duration(one['p50_ns']):>12}{duration(one['p99_ns']):>12}"
              f"{duration(one['p999_ns']):>14}{one['calls_per_s']:>13,}"
              f"{one['p50_ns'] / raw_of[one['path']]:>9.1f}{http / one['p50_ns']:>13.1f}")


def print_words(reports, refusal, passes):
    shop, web = reports["spin"]
    totals, channel = web["totals"], web["connection"]
    uring = {"allowed": "allowed", "EPERM": "refused"}
    money = f"{totals['money']['units']:,}.{totals['money']['nanos']:09d}"
    blocked = reports["futex"][1]["connection"]["sleeps"] / (totals["orders"] * (passes + 1))
    print(f"""
What was shown. Two programs ran in sandboxes of their own: "web", which places orders, and "shop", which takes
them. Each found out from inside, by reading the kernel and by trying, that it runs
  - as uid {web['facts']['Uid']} without any capability, with no_new_privs and a seccomp filter;
  - in user, pid, network, ipc, mount, uts and cgroup namespaces shared neither with the host nor with the other;
  - with no network but its own loopback, on a root that it cannot write, seeing no process but itself and its init;
  - reaching one socket, its own from ipc-broker, and nothing else;
  - io_uring {uring.get(shop['facts']['io_uring'], 'missing')} in shop and {uring.get(web['facts']['io_uring'], 'refused')} in web.
The broker introduced them, and when shop asked to call in its turn, it was refused:
  {refusal}
Web and shop shared {channel['shared_bytes'] // 1024} KiB, of which each can write its own half alone.
Web placed {totals['orders']:,} orders {passes} times over in each way and compared every answer with its own sum. All three ways
came to the same: {totals['lines']:,} lines, {totals['items']:,} items, {money}. The shop's own books agree.
A call is timed from the order in memory to the answer in memory: encoding, calling, decoding. Raw is a number going
from one CPU to another and back, between the calls of the same two processes. Blocking, web slept {blocked:.2f} times a call.
HTTP ran over one kept-alive Unix-socket connection, which is faster than TCP: the sandboxes share no network.""")
    if web["cpu"] < 0:
        print("There is one CPU only: the two programs took turns on it, and nothing could spin.")


def report(reports, refusal, passes, as_json):
    webs = {label: web for label, (_, web) in reports.items()}
    agree = all(web["totals"] == webs["http"]["totals"] for web in webs.values())
    rows = [row("raw", webs["spin"]["raw"]), row("libipc-spin", webs["spin"]["call"]),
            row("libipc-futex", webs["futex"]["call"]), row("json-http", webs["http"]["call"])]
    if as_json:
        print(json.dumps({"orders": webs["http"]["orders"], "totals_agree": agree, "rows": rows}))
    if not agree:
        raise Failure("libipc and HTTP came to different totals")
    if not as_json:
        raw_of = dict.fromkeys(("raw", "libipc-spin", "json-http"), webs["spin"]["raw"]["p50_ns"])
        print_table(rows, raw_of | {"libipc-futex": webs["futex"]["raw"]["p50_ns"]})
        print_words(reports, refusal, passes)


def find_programs(build):
    programs = {"broker": build / "broker" / "ipc-broker", "server": build / "examples" / "orders-server",
                "client": build / "examples" / "orders-client", "seccomp": build / "examples" / "ipc-seccomp"}
    for program in programs.values():
        if not os.access(program, os.X_OK):
            raise Failure(f"{program} is missing: build it first")
    if not shutil.which("bwrap"):
        raise Failure("bwrap is missing (Debian: bubblewrap)")
    return programs


def main():
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build", help="the build directory")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--passes", type=int, default=30, help="measured passes over the orders (30)")
    options = parser.parse_args()
    if not 1 <= options.passes <= 1000:
        parser.error("--passes: from 1 to 1000")
    signals.catch()
    try:
        report(*run(find_programs(options.build.resolve()), options.passes), options.passes, options.json)
    except Failure as failure:
        say(f"demo: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
