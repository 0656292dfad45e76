#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ipc-gen from the outside: what flatc makes of our bytes and we of flatc's, what is refused, and how it fails.

usage: test-ipc-gen.py IPC-GEN EVERY-FILE BUILD-INCLUDE; prints TAP.
"""
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

GEN, EVERY, BUILD_INCLUDE = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCHEMAS = [HERE / "every.fbs", ROOT / "schemas/broker.fbs", ROOT / "examples/orders/orders.fbs"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wcast-qual", "-Werror"]
COMPILERS = [["gcc", "-std=c17"], ["clang", "-std=c17"],
             ["g++", "-std=c++17", "-xc++"], ["clang++", "-std=c++17", "-xc++"]]

# What is refused, and words of the reason. {fields} are the fields of a table T.
REFUSED = {
    "a union": ("table A {{ x: int; }} union U {{ A }} table T {{ u: U; }}", "unions are not supported"),
    "a vector of unions": ("table A {{ x: int; }} union U {{ A }} table T {{ u: [U]; }}", "unions are not supported"),
    "an optional scalar": ("table T {{ x: int = null; }}", "T.x: optional scalars"),
    "a fixed-length array": ("struct S {{ x: [int:3]; }} table T {{ s: S; }}", "S.x: fixed-length arrays"),
    "a nested buffer": ("table T {{ x: [ubyte] (nested_flatbuffer: \"T\"); }}", "T.x: nested_flatbuffer"),
    "a flexbuffer": ("table T {{ x: [ubyte] (flexbuffer); }}", "T.x: flexbuffer"),
    "a vector with an alignment of its own": ("table T {{ x: [ubyte] (force_align: 16); }}", "T.x: force_align"),
    "a struct aligned to 16": ("struct S (force_align: 16) {{ x: int; }} table T {{ s: S; }}", "S: alignment above 8"),
    "a stream": ("table T {{}} rpc_service R {{ M(T): T (streaming: \"server\"); }}", "R: M: streaming"),
    "a method id that is no number": ("table T {{}} rpc_service R {{ M(T): T (id: \"x\"); }}", "R: M: a method's id"),
    "a method id that is too large": ("table T {{}} rpc_service R {{ M(T): T (id: 1024); }}", "R: M: a method's id"),
    "two methods with one id": ("table T {{}} rpc_service R {{ M(T): T (id: 1); N(T): T; }}", "R: N: its id 1"),
    "65 fields": ("table T {{ " + "".join(f"f{i}: int; " for i in range(65)) + "}}", "T: more than 64 fields"),
    "two fields that need one name": ("table T {{ x: int; has_x: int; }}", "needs the C name T_has_x"),
    "a struct's fields that need one name": (
        "struct S {{ int: int; int_: int; }}", "S.int_: its name in C is also int's"),
    "a type named like a keyword": ("table while {{ x: int; }}", "the name while is not free in C"),
    "a namespace of libipc's": ("namespace ipc; table T {{ x: int; }}", "ipc.T: this namespace is libipc's"),
    "a name of libipc's": ("namespace ipc.writer; table init {{ x: int; }}", "this namespace is libipc's"),
    "a table too large for its offsets": (
        "struct A {{ x: ulong; y: ulong; }} struct B {{ " + "".join(f"a{i}: A; " for i in range(60)) + "}} "
        "struct C {{ " + "".join(f"b{i}: B; " for i in range(60)) + "}} table T {{ c: C; }}",
        "larger than 32767 bytes"),
}


class Scratch:
    """A directory, where flatc's temporary files have to go as well, and must be gone from."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="test-ipc-gen-"))
        self.tmp = self.path / "tmp"
        self.tmp.mkdir()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def gen(self, *arguments, **environment):
        done = subprocess.run([GEN, *arguments], cwd=self.path, text=True, capture_output=True, timeout=60,
                              env=os.environ | {"TMPDIR": str(self.tmp)} | environment)
        assert not list(self.tmp.iterdir()), f"left behind: {list(self.tmp.iterdir())}"
        return done

    def good(self, *arguments):
        done = self.gen(*arguments)
        assert done.returncode == 0 and not done.stderr, done

    def flatc(self, *arguments):
        subprocess.run(["flatc", *arguments], cwd=self.path, check=True, timeout=60, stdout=subprocess.DEVNULL)


def flatc_reads_what_we_write_and_we_read_what_flatc_writes():
    with Scratch() as s:
        include = ["-I", HERE / "include"]
        subprocess.run([EVERY, "write", s.path / "every.evr"], check=True)
        s.flatc("--json", "--strict-json", *include, HERE / "every.fbs", "--", "every.evr")
        assert '"Last"' in (s.path / "every.json").read_text()
        ours = (s.path / "every.evr").rename(s.path / "ours.evr").read_bytes()
        s.flatc("-b", *include, HERE / "every.fbs", "every.json")
        assert (s.path / "every.evr").read_bytes() != ours
        subprocess.run([EVERY, "check", s.path / "every.evr"], check=True)
        # With defaults written out, the layout is another one.
        s.flatc("-b", "--force-defaults", *include, HERE / "every.fbs", "every.json")
        subprocess.run([EVERY, "check", s.path / "ours.evr"], check=True)


def a_message_that_says_something_else_is_told_apart():
    with Scratch() as s:
        (s.path / "in.json").write_text('{ "scalars": {}, "node": { "name": "n" } }')
        s.flatc("-b", "-I", HERE / "include", HERE / "every.fbs", "in.json")
        done = subprocess.run([EVERY, "check", s.path / "in.evr"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "not so" in done.stderr, done


def headers_compile_everywhere_without_warnings():
    with Scratch() as s:
        source = "".join(f'#include "{path.stem}.h"\n' for path in SCHEMAS) + "int main(void) { return 0; }\n"
        (s.path / "all.c").write_text(source)
        for path in SCHEMAS:
            s.good(path, "-I", HERE / "include", "-o", f"{path.stem}.h")
        for command in COMPILERS:
            if not shutil.which(command[0]):
                print(f"# {command[0]} is missing")
                continue
            for level in "-O0", "-O2":
                subprocess.run([*command, *WARNINGS, level, f"-I{ROOT / 'include'}", f"-I{BUILD_INCLUDE}", "-c",
                                "all.c", "-o", "/dev/null"], cwd=s.path, check=True, timeout=120)


def what_is_not_supported_is_refused_with_file_type_and_reason():
    with Scratch() as s:
        for what, (text, reason) in REFUSED.items():
            (s.path / "x.fbs").write_text(text.format())
            (s.path / "x.h").write_text("as it was")
            done = s.gen("x.fbs", "-o", "x.h")
            assert done.returncode == 1, f"{what}: {done}"
            assert done.stderr.startswith("x.fbs: ") and reason in done.stderr, f"{what}: {done.stderr}"
            assert (s.path / "x.h").read_text() == "as it was", what


def a_default_that_flatc_loses_is_refused():
    with Scratch() as s:
        for default in "9223372036854775808", "18446744073709551615", "0xFFFFFFFFFFFFFFFF":
            (s.path / "x.fbs").write_text(f"table T {{ f: float = 0.1; u: ulong = {default}; }}")
            done = s.gen("x.fbs")
            assert done.returncode == 1 and "x.fbs: T: the default of U is above" in done.stderr, done
        (s.path / "x.fbs").write_text("table T { f: float = 0.1; u: ulong = 9223372036854775807; v: ulong; }")
        s.good("x.fbs")


def names_that_c_keeps_are_worked_around():
    with Scratch() as s:
        (s.path / "x.fbs").write_text(
            "namespace a; struct S { while: int; }"
            "table class { int: S; ok: bool; walk: [S]; if: string; at: [class]; }"
            "rpc_service int { delete(class): class; writable(class): class; }")
        s.good("x.fbs", "-o", "x.h")
        (s.path / "x.c").write_text('#include "x.h"\nint main(void) { return 0; }\n')
        for command in COMPILERS:
            if shutil.which(command[0]):
                subprocess.run([*command, *WARNINGS, f"-I{ROOT / 'include'}", f"-I{BUILD_INCLUDE}", "-fsyntax-only", "x.c"],
                               cwd=s.path, check=True, timeout=120)


def a_binary_schema_gives_the_same_header():
    with Scratch() as s:
        for path in SCHEMAS:
            s.good(path, "-I", HERE / "include", "-o", "text.h")
            s.flatc("-b", "--schema", "--bfbs-builtins", "--bfbs-comments", "-I", HERE / "include", path)
            s.good(f"{path.stem}.bfbs", "-o", "binary.h")
            assert (s.path / "text.h").read_bytes() == (s.path / "binary.h").read_bytes(), path


def without_an_output_the_header_is_named_after_the_schema():
    with Scratch() as s:
        s.good(ROOT / "schemas/broker.fbs")
        header = s.path / "broker_fbs.h"
        assert "ipc_broker_Hello_root" in header.read_text()
        assert sorted(s.path.iterdir()) == [header, s.tmp]
        assert stat.S_IMODE(header.stat().st_mode) & 0o600 == 0o600


def flatcs_own_complaints_are_shown():
    with Scratch() as s:
        (s.path / "x.fbs").write_text("table T { x: nonsense; }")
        done = s.gen("x.fbs")
        assert done.returncode == 1 and "nonsense" in done.stderr and "x.fbs: flatc: " in done.stderr, done
        assert not done.stdout and not (s.path / "x_fbs.h").exists()


def failures_of_the_system_have_their_own_exit_code():
    with Scratch() as s:
        done = s.gen(ROOT / "schemas/broker.fbs", PATH="/nonexistent")
        assert done.returncode == 3 and "cannot run flatc" in done.stderr, done
        done = s.gen(ROOT / "schemas/broker.fbs", "-o", "nowhere/x.h")
        assert done.returncode == 3 and done.stderr.startswith("nowhere/x.h: cannot write: "), done
        done = s.gen("nowhere.bfbs")
        assert done.returncode == 3 and done.stderr.startswith("nowhere.bfbs: cannot open: "), done
        (s.path / "x.h").mkdir()
        done = s.gen(ROOT / "schemas/broker.fbs", "-o", "x.h")
        assert done.returncode == 3 and sorted(s.path.iterdir()) == [s.tmp, s.path / "x.h"], done


def a_file_that_is_no_schema_is_refused():
    with Scratch() as s:
        for content in b"", b"\0" * 7, b"\0" * 64, b"\xff" * 64, b"\x10\0\0\0BFBS" + b"\xff" * 64:
            (s.path / "x.bfbs").write_bytes(content)
            done = s.gen("x.bfbs")
            assert done.returncode == 1 and done.stderr.startswith("x.bfbs: "), (content, done)


def the_command_line_is_checked():
    with Scratch() as s:
        for arguments in [], ["a.fbs", "b.fbs"], ["a.txt"], [".fbs"], ["--nonsense"], ["-o"]:
            done = s.gen(*arguments)
            assert done.returncode == 2 and done.stderr and not done.stdout, (arguments, done)
        done = s.gen("--help")
        assert done.returncode == 0 and done.stdout.startswith("Usage: ipc-gen "), done
        done = s.gen("--version")
        assert done.returncode == 0 and done.stdout.startswith("ipc-gen "), done


CASES = [value for name, value in list(globals().items())
         if callable(value) and getattr(value, "__module__", "") == "__main__" and name[0].islower()]

print(f"1..{len(CASES)}")
failed = 0
for number, case in enumerate(CASES, 1):
    try:
        case()
        print(f"ok {number} {case.__name__}")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        failed += 1
        print(f"not ok {number} {case.__name__}")
        print("# " + str(error).replace("\n", "\n# "))
sys.exit(1 if failed else 0)
