#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents say of the tree is so. Prints TAP.

    test-docs.py --source DIR --build DIR --cc "COMMAND …" [--man PAGE …]
"""
import argparse
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback

CASES = []
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "HACKING.md", "NEWS.md", "SECURITY.md"]


class Skip(Exception):
    """What is missing."""


def case(function):
    CASES.append(function)
    return function


def read(path):
    with open(os.path.join(options.source, path), encoding="utf-8") as file:
        return file.read()


def exists(path):
    return os.path.exists(os.path.join(options.source, path))


def same(what, found, expected):
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def blocks(text):
    """(marker, language, body) of each fenced block; the marker is the comment on the line before it."""
    return re.findall(r"(?:^<!-- (\S+) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S)


# ── ARCHITECTURE.md against the code ──

@case
def every_function_that_architecture_names_exists_in_the_file_it_names():
    named = set(re.findall(r"`([\w./-]+\.[chy]+):(\w+)`", read("ARCHITECTURE.md")))
    assert len(named) > 50, f"only {len(named)} found: has the form changed?"
    missing = [f"{path}:{name}" for path, name in sorted(named)
               if not exists(path) or not re.search(r"^\S.*?\b%s\(" % name, read(path), re.M)]
    same("functions that are not there", missing, [])


@case
def every_path_that_a_document_names_exists():
    missing = []
    for document in DOCUMENTS:
        text = read(document)
        paths = re.findall(r"`((?:libipc|broker|gen|cli|tests|examples|containers|scripts|schemas|tools|man|bench|include)"
                           r"/[\w./-]*)(?::\w+)?`", text)
        paths += [p for p in re.findall(r"\]\(([\w./-]+)(?:#[\w-]*)?\)", text)]
        missing += [f"{document}: {path}" for path in paths if not exists(path)]
    same("paths that are not there", missing, [])


@case
def every_link_within_a_document_has_its_heading():
    for document in DOCUMENTS:
        text = read(document)
        anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}
        same(f"{document}: headings that are not there", sorted(set(re.findall(r"\]\(#([\w-]+)\)", text)) - anchors), [])


@case
def every_edge_of_the_code_has_its_row():
    edges = set(re.findall(r"^ \*   ([A-Z]+) ", read("libipc/ring/edges.h"), re.M))
    weakened = set(re.findall(r"#ifdef WEAKEN_(\w+)", read("libipc/ring/edges.h")))
    rows = set(re.findall(r"^\| ([A-Z]+) \| `libipc", read("ARCHITECTURE.md"), re.M))
    assert len(edges) >= 5, "edges.h lists its edges in another form"
    same("edges that a build can weaken", weakened, edges)
    same("rows", rows, edges)


@case
def every_field_of_the_shared_layout_has_its_row_and_no_other():
    text, layout = read("ARCHITECTURE.md"), read("libipc/ring/layout.h")
    sizes = {name: int(bits) // 8 for bits, name in re.findall(r"uint(\d+)_t (\w+);", layout)}
    for struct, names in (("ipci_control", "magic state"), ("ipci_frame", "commit call_id")):
        offsets = {name: int(n) for name, n in
                   re.findall(r"offsetof\(struct %s, (\w+)\) == (\d+)" % struct, layout)}
        offsets.setdefault(names.split()[0], 0)
        begin = text.index("(`struct %s`" % struct)
        table = text[begin:text.index("\n\n", text.index("|---", begin))]
        rows = {name: (int(offset), int(size)) for offset, size, name in
                re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", table, re.M)}
        same(struct, rows, {name: (offset, sizes[name]) for name, offset in offsets.items()})
    same("its size", re.search(r"`struct ipci_control`, (\d+) bytes", text)[1],
         re.search(r"sizeof\(struct ipci_control\) == (\d+)", layout)[1])


@case
def every_behaviour_in_the_catalogue_of_hostile_peers_has_its_case():
    rows = re.findall(r"^\| ([^|]+) \| (client|server|client, server) \| ([^|]+) \| (`[^|]+`) \|$",
                      read("tests/hostile/README.md"), re.M)
    assert len({(behaviour, of) for behaviour, of, _, _ in rows}) >= 60, f"only {len(rows)} behaviours"
    for of in "client", "server":
        assert sum(of in row[1] for row in rows) >= 30, f"few behaviours of a {of}"
    cases = [case for row in rows for case in re.findall(r"`(test-[\w-]+\.c):(\w+)`", row[3])]
    assert len(cases) >= len(rows), "a row without a case"
    missing = [f"{file}:{name}" for file, name in cases
               if not re.search(r"^Test\(\w+, %s\b" % name, read("tests/hostile/" + file), re.M)]
    same("cases that are not there", missing, [])


@case
def every_directory_of_the_library_is_in_the_table_of_layers():
    layers = set(re.findall(r"^\| `(libipc/\w+/|broker/)` \|", read("ARCHITECTURE.md"), re.M))
    same("layers", layers, {d[len(options.source) + 1:] + "/" for d in glob.glob(options.source + "/libipc/*")}
         | {"broker/"})


@case
def every_library_that_the_build_asks_for_has_its_reason():
    table = read("ARCHITECTURE.md").split("## 16. Dependencies")[1].split("\n## ")[0].lower()
    reasons = {name for first in re.findall(r"^\| ([^|]*) \|", table, re.M) for name in first.split(", ")}
    names = {"yaml-0.1": "libyaml", "benchmark": "google-benchmark"}
    missing = set()
    for path in glob.glob(options.source + "/**/meson.build", recursive=True):
        if re.search(r"/build[^/]*/", path[len(options.source):]):
            continue
        for name in re.findall(r"\bdependency\('([\w.+-]+)'", read(path)):
            if name not in ("threads", "libipc") and names.get(name, name).lower() not in reasons:
                missing.add(f"{os.path.relpath(path, options.source)}: {name}")
    same("dependencies without a reason", sorted(missing), [])


# ── examples ──

def quoted():
    """(document, path, text) of every block that quotes a file."""
    for marker, _, body in blocks(read("README.md")):
        if marker:
            yield "README.md", marker, body
    for path, body in re.findall(r"^; (\S+)\n```\n(.*?)^```$", read("man/libipc.7.scd"), re.M | re.S):
        yield "man/libipc.7.scd", path, body.replace("\\\\", "\\")


@case
def blocks_that_quote_a_file_are_that_file():
    n = 0
    for document, path, body in quoted():
        expected = read(path)
        if document.endswith(".scd"):
            expected = expected.expandtabs(8)
        assert body == expected, f"{document}: the block is not {path} any more"
        n += 1
    same("blocks", n, 6)


@case
def every_block_of_c_quotes_a_file():
    for document in DOCUMENTS:
        bare = [body for marker, language, body in blocks(read(document)) if language in ("c", "fbs") and not marker]
        same(f"{document}: C that nothing compiles", bare, [])


@case
def the_examples_in_the_documents_compile():
    ipc_gen = os.path.join(options.build, "gen", "ipc-gen")
    for document in ("README.md", "man/libipc.7.scd"):
        with tempfile.TemporaryDirectory() as directory:
            sources = []
            for _, path, body in (q for q in quoted() if q[0] == document):
                name = os.path.join(directory, os.path.basename(path))
                with open(name, "w", encoding="utf-8") as file:
                    file.write(body)
                if name.endswith(".fbs"):
                    subprocess.run([ipc_gen, name, "-o", name[:-len(".fbs")] + "_fbs.h"], check=True, timeout=60)
                else:
                    sources.append(name)
            same(f"{document}: programs", len(sources), 2)
            for source in sources:
                subprocess.run([*shlex.split(options.cc), "-std=c17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                                "-I", os.path.join(options.source, "include"),
                                "-I", os.path.join(options.build, "include"), source], check=True, timeout=120)


@case
def the_example_runs_as_the_readme_says():
    run = subprocess.run([os.path.join(options.source, "examples/hello/run"), options.build, "reader"],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    same("what it printed", (run.returncode, run.stdout), (0, "hello, reader\n"))


@case
def the_policies_in_the_documents_are_valid():
    broker = os.path.join(options.build, "broker", "ipc-broker")
    policies = [body for document in DOCUMENTS for _, language, body in blocks(read(document)) if language == "yaml"]
    policies += [body for body in re.findall(r"^```\n(.*?)^```$", read("man/libipc.7.scd"), re.M | re.S)
                 if body.startswith("version:")]
    same("policies", len(policies), 2)
    for policy in policies:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(policy)
            file.flush()
            run = subprocess.run([broker, "--check", file.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, timeout=60)
            same(policy, (run.returncode, run.stdout), (0, "ok\n"))


@case
def every_command_in_the_documents_is_one():
    for document in DOCUMENTS:
        for _, language, body in blocks(read(document)):
            if language != "sh":
                continue
            subprocess.run(["bash", "-n"], input=body, text=True, check=True, timeout=60)
            for line in re.split(r"\n|&&", re.sub(r"\s#.*", "", body)):
                word = (shlex.split(line) or ["true"])[0]
                known = exists(word) or word in ("true", "meson", "ninja", "git", "cd")
                known = known or re.match(r"build/(cli/ipc|broker/ipc-broker|gen/ipc-gen)$", word)
                assert known, f"{document}: {line.strip()}: no such command"


# ── manual pages ──

@case
def every_exported_function_and_program_has_a_manual_page():
    if not options.man:
        raise Skip("no scdoc when this was built")
    pages = {os.path.basename(page) for page in options.man}
    functions = re.findall(r"^\s+(ipc_\w+);", read("libipc/channel/libipc.map"), re.M)
    expected = {f"{name}.3" for name in functions} | {"libipc.7", "ipc.1", "ipc-bench.1", "ipc-gen.1", "ipc-broker.8", "ipc-policy.5"}
    same("pages that are missing", sorted(expected - pages), [])


@case
def every_manual_page_that_a_page_refers_to_exists():
    if not options.man:
        raise Skip("no scdoc when this was built")
    pages = {os.path.basename(page) for page in options.man}
    dangling = set()
    for path in options.man:
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"\\f[BIR]|\\&", "", file.read().replace("\\-", "-"))
        for name, section in re.findall(r"\b((?:lib)?ipc[\w-]*)\((\d)\)", text):
            if f"{name}.{section}" not in pages:
                dangling.add(f"{os.path.basename(path)}: {name}({section})")
    same("pages that are referred to and missing", sorted(dangling), [])


@case
def manual_pages_are_sound_to_mandoc():
    if not options.man:
        raise Skip("no scdoc when this was built")
    if not shutil.which("mandoc"):
        raise Skip("no mandoc")
    run = subprocess.run(["mandoc", "-T", "lint", "-W", "error", *options.man], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=60)
    same("what it found", run.stdout, "")


def man3(header, exported="ipc_thing"):
    """Runs the generator over one header and a map of one function; its status and words."""
    with tempfile.TemporaryDirectory() as directory:
        with open(directory + "/thing.h", "w", encoding="utf-8") as file:
            file.write(header)
        with open(directory + "/map", "w", encoding="utf-8") as file:
            file.write("X {\nglobal:\n\t%s;\n};\n" % exported)
        run = subprocess.run([sys.executable, os.path.join(options.source, "tools/man3.py"), "--map", directory + "/map",
                              "--version", "1", "--output", directory, directory + "/thing.h"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        page = directory + "/ipc_thing.3.scd"
        return run.returncode, run.stdout, open(page, encoding="utf-8").read() if os.path.exists(page) else ""


GOOD = """/**
 * ipc_thing() - do a thing
 * @a: what to
 *
 * Threads: any.
 *
 * Return: 0; -EAGAIN not now (see ipc_thing(); later); -EINVAL.
 */
IPC_PUBLIC int ipc_thing(int a);
"""


@case
def a_page_says_what_its_comment_says():
    status, words, page = man3(GOOD)
    same("status", (status, words), (0, ""))
    for piece in ("ipc\\_thing - do a thing", "int ipc_thing(int a);", "_a_\n\twhat to", "# THREADS AND BLOCKING\n\nAny thread.",
                  "*-EAGAIN*\n\tnot now (see *ipc\\_thing*(); later)", "*-EINVAL*\n\t"):
        assert piece in page, f"no {piece!r} in:\n{page}"


@case
def no_page_comes_of_a_comment_and_a_prototype_that_disagree():
    for why, header, exported in (
            ("does not have", GOOD.replace(" * @a:", " * @b:"), "ipc_thing"),
            ("does not describe", GOOD.replace(" * @a: what to\n", ""), "ipc_thing"),
            ("speaks of @b", GOOD.replace("any.", "any, if @b."), "ipc_thing"),
            ("no doc comment", GOOD.replace("/**", "/*"), "ipc_thing"),
            ("no doc comment", GOOD.replace(" */\n", " */\n\n"), "ipc_thing"),
            ("is about", GOOD.replace(" * ipc_thing() -", " * ipc_other() -"), "ipc_thing"),
            ("what ipc_thing() returns", GOOD.replace("Return:", "Answer:"), "ipc_thing"),
            ("means by -EXDEV", GOOD.replace("-EINVAL.", "-EXDEV."), "ipc_thing"),
            ("no header declares", GOOD, "ipc_other"),
            ("does not export", GOOD, "ipc_other")):
        status, words, _ = man3(header, exported)
        assert status == 1 and why in words, f"expected a complaint with {why!r}, not {status}, {words!r}"


def main():
    print(f"1..{len(CASES)}")
    failed = False
    for number, function in enumerate(CASES, 1):
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok {number} - {name}")
        except Skip as skip:
            print(f"ok {number} - {name} # SKIP {skip}")
        except Exception:  # a case that breaks down is a case that fails
            failed = True
            print(f"not ok {number} - {name}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
    return 1 if failed else 0


parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True)
parser.add_argument("--build", required=True)
parser.add_argument("--cc", required=True)
parser.add_argument("--man", nargs="*", default=[])
options = parser.parse_args()
sys.exit(main())
