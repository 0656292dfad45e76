#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `meson install` gives a user: headers, libraries, pkg-config file and programs. Prints TAP.

usage: test-install.py BUILD-DIRECTORY
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
USE = pathlib.Path(__file__).resolve().parent / "use.c"
COMPILERS = [("gcc", "c", "c17"), ("clang", "c", "c17"), ("g++", "c++", "c++17"), ("clang++", "c++", "c++17")]
STRICT = ["-Wall", "-Wextra", "-Werror"]


class Skip(Exception):
    """Says what is missing."""


os.environ["PATH"] = "/usr/bin:" + os.environ["PATH"]  # Debian's meson, whatever else is installed


def output(*command, env=None):
    """What a command prints; its own words if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120,
                          env=os.environ | (env or {}))
    assert done.returncode == 0, f"{shlex.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done.stdout


class Installed:
    def __init__(self, destination):
        self.root = pathlib.Path(destination)
        output("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", destination)
        self.headers = sorted(self.root.glob("**/include/ipc/*.h"))
        self.include = self.headers[0].parent.parent
        self.shared = self.one("**/libipc.so")
        self.static = self.one("**/libipc.a")
        self.pc = self.one("**/libipc.pc")
        self.programs = sorted(path for name in ("bin", "sbin", "libexec") for path in self.root.glob(f"**/{name}/*")
                               if path.is_file() and path.read_bytes()[:4] == b"\x7fELF")

    def one(self, pattern):
        found = sorted(self.root.glob(pattern))
        assert len(found) == 1, f"{pattern}: found {found}"
        return found[0]

    def pkg_config(self, *arguments):
        return shlex.split(output("pkg-config", *arguments, "libipc", env={
            "PKG_CONFIG_PATH": str(self.pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(self.root)}))

    def build_use(self, compiler, language, standard, *link):
        program = self.root / f"use-{compiler}"
        output(compiler, "-x", language, f"-std={standard}", *STRICT, *self.pkg_config("--cflags"), USE, "-x", "none",
               "-o", program, *link)
        return program


def every_header_compiles_alone(installed):
    for compiler, language, standard in COMPILERS:
        if not shutil.which(compiler):
            raise Skip(f"{compiler} is missing")
        for header in installed.headers:
            output(compiler, "-x", language, f"-std={standard}", *STRICT, "-fsyntax-only", f"-I{installed.include}",
                   "-include", header, "/dev/null")


def a_program_runs_with_the_shared_library(installed):
    version = output("pkg-config", "--modversion", installed.pc).strip()
    for compiler, language, standard in COMPILERS:
        program = installed.build_use(compiler, language, standard, *installed.pkg_config("--libs"))
        assert "libipc.so" in output("readelf", "-d", program), "not linked with the shared library"
        output(program, version, env={"LD_LIBRARY_PATH": str(installed.shared.parent)})


def a_program_runs_with_the_static_library(installed):
    version = output("pkg-config", "--modversion", installed.pc).strip()
    for compiler, language, standard in COMPILERS:
        program = installed.build_use(compiler, language, standard, "-static",
                                      *installed.pkg_config("--static", "--libs"))
        assert "NEEDED" not in output("readelf", "-d", program), "not linked statically"
        output(program, version)


def declared(installed):
    """Functions that the installed headers give default visibility."""
    names = set()
    for header in installed.headers:
        text = output("gcc", "-E", "-P", f"-I{installed.include}", header)
        names |= {match[1] for match in re.finditer(
            r'visibility__\("default"\)\)\)[^;{]*?\b(ipc_\w+)\s*\(', text)}
    return names


def exported(library):
    return [line.split()[2] for line in output("nm", "-D", "--defined-only", library).splitlines()
            if line.split()[1] != "A"]


def the_shared_library_exports_what_headers_declare_and_no_more(installed):
    symbols = exported(installed.shared)
    names = {symbol.split("@")[0] for symbol in symbols}
    assert len(declared(installed)) > 20, "the headers declare next to nothing"
    assert names == declared(installed), f"differ: {sorted(names ^ declared(installed))}"
    assert all(re.search("@@?LIBIPC_", symbol) for symbol in symbols), "not every symbol has a version"


def the_static_library_defines_what_headers_declare(installed):
    defined = {line.split()[-1] for line in output("nm", "-g", "--defined-only", installed.static).splitlines()
               if len(line.split()) == 3}
    assert declared(installed) <= defined, f"missing: {sorted(declared(installed) - defined)}"
    foreign = {name for name in defined if not name.startswith(("ipc_", "ipci_"))}
    assert not foreign, f"names that could clash with a user's: {sorted(foreign)}"


def everything_is_hardened(installed):
    assert installed.programs, "no program was installed"
    for path in [installed.shared, *installed.programs]:
        headers, dynamic = output("readelf", "-lW", path), output("readelf", "-d", path)
        assert "GNU_RELRO" in headers and re.search("BIND_NOW|Flags:.* NOW", dynamic), f"{path.name}: not full RELRO"
        assert not re.search(r"GNU_STACK.*RWE", headers), f"{path.name}: executable stack"
        assert path == installed.shared or re.search("Flags:.*PIE", dynamic), f"{path.name}: not PIE"
        assert not re.search("RPATH|RUNPATH", dynamic), f"{path.name}: keeps a path of the build"


def main():
    tests = [every_header_compiles_alone, a_program_runs_with_the_shared_library,
             a_program_runs_with_the_static_library, the_shared_library_exports_what_headers_declare_and_no_more,
             the_static_library_defines_what_headers_declare, everything_is_hardened]
    print(f"1..{len(tests)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="test-install-") as destination:
        installed = Installed(destination)
        for number, test in enumerate(tests, 1):
            name = test.__name__
            try:
                test(installed)
                print(f"ok {number} - {name}", flush=True)
            except Skip as skip:
                print(f"ok {number} - {name} # SKIP {skip}", flush=True)
            except Exception as problem:
                words = f"{type(problem).__name__}: {problem}".replace("\n", "\n# ")
                print(f"not ok {number} - {name}\n# {words}", flush=True)


main()
