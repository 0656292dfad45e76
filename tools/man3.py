#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes one scdoc source a public function, NAME.3.scd, from the doc comments of the installed headers.

    man3.py --map libipc.map --version 0.1.0 --output DIR [--also NAME]... HEADER...

The comments are the only source; so what they and the prototypes say must agree. It fails, with FILE:LINE, when
  - a function that the map exports has no prototype marked IPC_PUBLIC, or no doc comment right before it;
  - a header marks a function IPC_PUBLIC that the map does not export;
  - a comment names a parameter that the function lacks, or leaves out one that it has;
  - a comment says nothing of what the function returns, although it returns something, or lists an uncommon errno
    without a word on it.
--also names documented inline functions that get a page too.
"""
import argparse
import os
import re
import sys
import textwrap

COMMENT = re.compile(r"/\*\*\n \* (\w+)\(\) - (.*?)\n(.*?) \*/\n", re.S)
PROTOTYPE = re.compile(r"(?:IPC_PUBLIC |static inline )([^;{]*?)(\bipc_\w+)\(([^;{]*?)\)\s*[;{]", re.S)
DEFINITION = re.compile(r"^(?:struct|enum) (\w+ )?\{\n.*?^\};", re.S | re.M)
CODES = re.compile(r"((?:-E[A-Z0-9]+|\d+(?:\.\.\d+)?)(?:, -E[A-Z0-9]+)*)(?=$|[ .])")
LABELS = {"Ownership": "# OWNERSHIP\n", "Threads": "# THREADS AND BLOCKING\n"}
# What a comment need not spell out each time.
COMMON = {
    "0": "success",
    "-EINVAL": "an argument is none that is described here",
    "-E2BIG": "the options have a nonzero part that this library does not know",
    "-ECHILD": "called in a child after fork()",
    "-ENOMEM": "out of memory",
    "-EMFILE": "this process has no descriptors left",
    "-ENFILE": "the system has no descriptors left",
    "-ENOSPC": "the kernel's limit of watched descriptors is reached",
    "-EBADF": "not an open descriptor",
    "-ETIMEDOUT": "the deadline passed",
    "-EINTR": "a signal came first",
}

errors = []


def fail(where, text):
    errors.append(f"{where}: {text}")


class Function:
    """A prototype, and the comment before it."""

    def __init__(self, header, where, match):
        self.header, self.where, self.name = header, where, match[2]
        self.returns = " ".join(match[1].split())
        self.prototype = " ".join(f"{match[1]}{match[2]}({match[3]})".split())
        self.parameters = [] if match[3].strip() == "void" else [
            re.search(r"(\w+)(?:\[[^]]*\])?$", p.strip())[1] for p in match[3].split(",")]
        self.brief, self.described, self.paragraphs, self.results = None, {}, [], None

    def describe(self, brief, body):
        self.brief = brief
        lines = [line[3:] if line.startswith(" * ") else "" for line in body.splitlines()]
        name = None
        while lines and lines[0]:
            line = lines.pop(0)
            if parameter := re.match(r"@(\w+):\s+(.*)", line):
                name = parameter[1]
                self.described[name] = parameter[2]
            elif name and line.startswith(" "):
                self.described[name] += " " + line.strip()
            elif name:
                self.described[name] += " " + line
            else:
                lines.insert(0, line)
                break
        for block in "\n".join(lines).strip().split("\n\n"):
            if block.startswith("Return:"):
                self.results = " ".join(block[len("Return:"):].split())
            elif block:
                self.paragraphs.append(block)


def items(text):
    """The results that a Return: lists, split at semicolons outside parentheses and quotes."""
    result, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(text):
        quoted ^= c == '"'
        depth += (c == "(") - (c == ")")
        if c == ";" and depth == 0 and not quoted:
            result.append(text[start:i].strip())
            start = i + 1
    return result + [text[start:].strip()]


def read_header(path, functions, definitions):
    text = open(path, encoding="utf-8").read()
    include = "ipc/" + os.path.basename(path)
    for definition in DEFINITION.finditer(text):
        # An enum without a name stands for its constants.
        for name in [definition[1]] if definition[1] else re.findall(r"^\s*(IPC_\w+)", definition[0], re.M):
            definitions[name.strip()] = definition[0]
    comments = {m.end(): m for m in COMMENT.finditer(text)}
    for m in PROTOTYPE.finditer(text):
        start = m.start()
        if m[0].startswith("static") and start not in comments:
            continue
        function = Function(include, f"{path}:{text.count(chr(10), 0, start) + 1}", m)
        function.exported = m[0].startswith("IPC_PUBLIC")
        comment = comments.get(start)
        if comment and comment[1] != function.name:
            fail(function.where, f"the comment before {function.name}() is about {comment[1]}()")
        elif comment:
            function.describe(comment[2], comment[3])
        functions[function.name] = function


def check(function):
    if not function.brief:
        fail(function.where, f"{function.name}() has no doc comment right before it")
        return
    for name in function.described:
        if name not in function.parameters:
            fail(function.where, f"the comment describes @{name}, which {function.name}() does not have")
    for name in function.parameters:
        if name not in function.described:
            fail(function.where, f"the comment does not describe {function.name}()'s parameter {name}")
    everything = " ".join([*function.described.values(), *function.paragraphs, function.results or ""])
    for name in re.findall(r"(?<!\w)@(\w+)", everything):
        if name not in function.parameters:
            fail(function.where, f"the comment speaks of @{name}, which {function.name}() does not have")
    if function.returns not in ("void", "") and not function.results:
        fail(function.where, f"the comment does not say what {function.name}() returns")
    if function.returns == "void" and function.results:
        fail(function.where, f"the comment says that {function.name}() returns something")


def markup(text, functions, own):
    """Escapes for scdoc; parameters underlined, functions bold."""
    text = re.sub(r"[\\*_`~#]", lambda m: "\\" + m[0], text)
    text = re.sub(r"(?<!\w)@(\w+?)(?=\W|$)", lambda m: f"_{m[1]}_", text.replace("\\_", "\0"))
    text = text.replace("\0", "\\_")

    def refer(m):
        name = m[1].replace("\\_", "_")
        page = "(3)" if name in functions and name != own and not m[2] else f"({m[2]})"
        return f"*{m[1]}*{page}"

    return re.sub(r"\b(ipc\\_(?:\w|\\_)+)\(([^)]*)\)", refer, text)


def paragraph(text, indent=""):
    """Wrapped, with no line that begins like something else."""
    lines = textwrap.wrap(" ".join(text.split()), 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(indent + ("\\" if line[0] in "-.+|[]#" else "") + line for line in lines) + "\n"


def synopsis(function):
    """The prototype, broken between parameters only."""
    head, tail = (function.prototype + ";").split("(", 1)
    head += "("
    lines = [head]
    for parameter in re.findall(r"[^,]+(?:, |$)", tail):
        if len(lines[-1] + parameter.rstrip()) > 76 and lines[-1] != head:
            lines[-1] = lines[-1].rstrip()
            lines.append(" " * len(head))
        lines[-1] += parameter
    return "\n".join(lines)


def capital(text):
    return text if re.match(r"\w*_|\W", text) else text[0].upper() + text[1:]


def literal(text):
    return "```\n" + text.replace("\t", "    ") + "\n```\n"


def types(function, definitions):
    """What the prototype names, what that consists of, and the enumerations and flags that either speaks of."""
    text = " ".join([*function.paragraphs, *function.described.values(), function.results or ""])
    names = re.findall(r"struct (ipc_\w+)", function.prototype)
    for name in names:
        if name in definitions and not name.startswith("ipc_writer"):
            text += definitions[name]
            names += [n for n in re.findall(r"struct (ipc_\w+) \*?\w+;", definitions[name]) if n not in names]
    names += re.findall(r"enum (ipc_\w+)", text) + re.findall(r"\b(IPC_\w+)", text)
    return list(dict.fromkeys(definitions[n] for n in names if n in definitions and n != "ipc_writer"))


def results(function, functions):
    out = []
    listed = items(function.results.rstrip("."))
    # A sentence after the list is no part of its last item.
    listed[-1], dot, last = listed[-1].partition(". ")
    for item in listed:
        codes = CODES.match(item)
        if not codes:
            out.append(paragraph(markup(capital(item) + ".", functions, function.name)))
            continue
        text = item[codes.end():].strip()
        # Codes that share no words are common ones, each with its own.
        for code, words in [(codes[1], text)] if text else [(c, COMMON.get(c)) for c in codes[1].split(", ")]:
            if not words:
                fail(function.where, f"the comment does not say what {function.name}() means by {code}")
                continue
            out.append(f"*{code}*\n" + paragraph(markup(words, functions, function.name), "\t"))
    if dot:
        out.append(paragraph(markup(last + ".", functions, function.name)))
    return "\n".join(out)


def labelled(function):
    """The paragraphs, and apart from them what follows a label: on a line of its own, or behind another sentence."""
    prose, sections = [], {}
    for block in function.paragraphs:
        for part in re.split(r"(?:^|(?<=\s))(?=(?:%s):)" % "|".join(LABELS), block):
            label, colon, text = part.partition(":")
            if label in LABELS:
                text = re.sub(r"^the loop's(?=[.\s;])", "the loop's thread", text.strip())
                sections[label] = re.sub(r"^any\.", "any thread.", text)
            elif part.strip():
                prose.append(part)
    return prose, sections


def page(function, functions, definitions, main_header, version):
    own = function.name
    include = "ipc/ipc.h" if function.header in main_header else function.header
    out = [f'{own}(3) "libipc {version}" "libipc manual"\n', "# NAME\n",
           paragraph(f"{own} - ".replace("_", "\\_") + markup(function.brief, functions, own)),
           "# SYNOPSIS\n", literal(f"#include <{include}>\n\n{synopsis(function)}")]
    if function.parameters:
        out.append("# PARAMETERS\n")
        for name in function.parameters:
            out.append(f"_{name}_\n" + paragraph(markup(function.described[name], functions, own), "\t"))
    prose, sections = labelled(function)
    if prose:
        out.append("# DESCRIPTION\n")
        out += [paragraph(markup(block, functions, own)) for block in prose]
    for label, title in LABELS.items():
        if label in sections:
            out += [title, paragraph(markup(capital(sections[label]), functions, own))]
    if function.results:
        out += ["# RETURN VALUE\n", results(function, functions)]
    shown = types(function, definitions)
    if shown:
        out += ["# TYPES\n", *map(literal, shown)]
    text = " ".join([*function.paragraphs, *function.described.values(), function.results or ""])
    related = sorted({n for n in re.findall(r"\b(ipc_\w+)\(", text) if n in functions and n != own})
    out.append("# SEE ALSO\n")
    out.append(paragraph(", ".join([*(f"*{n}*(3)".replace("_", "\\_") for n in related), "*libipc*(7)"])))
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser()
    for option in ("--map", "--version", "--output"):
        parser.add_argument(option, required=True)
    parser.add_argument("--also", action="append", default=[])
    parser.add_argument("headers", nargs="+")
    options = parser.parse_args()

    functions, definitions = {}, {}
    for header in options.headers:
        read_header(header, functions, definitions)
    map_text = re.sub(r"/\*.*?\*/", "", open(options.map, encoding="utf-8").read(), flags=re.S)
    exported = re.findall(r"^\s*(\w+);", map_text, re.M)
    if not exported:
        fail(options.map, "exports nothing")
    for name in exported:
        if name not in functions or not functions[name].exported:
            fail(options.map, f"{name} is exported, and no header declares it IPC_PUBLIC")
    for name, function in functions.items():
        if function.exported and name not in exported:
            fail(function.where, f"{name}() is IPC_PUBLIC, and {os.path.basename(options.map)} does not export it")
    for name in options.also:
        if name not in functions:
            fail("--also", f"no header documents {name}()")
    wanted = [functions[n] for n in dict.fromkeys([*exported, *options.also]) if n in functions]
    for function in wanted:
        check(function)
    if errors:
        print("\n".join(errors), file=sys.stderr)
        return 1

    main_header = {"ipc/ipc.h"}
    for header in options.headers:
        if os.path.basename(header) == "ipc.h":
            main_header |= set(re.findall(r"#include <(ipc/\w+\.h)>", open(header, encoding="utf-8").read()))
    pages = {f.name: f for f in wanted}
    for function in wanted:
        text = page(function, pages, definitions, main_header, options.version)
        with open(os.path.join(options.output, function.name + ".3.scd"), "w", encoding="utf-8") as out:
            out.write(text)
    print("".join(error + "\n" for error in errors), end="", file=sys.stderr)
    return 1 if errors else 0


sys.exit(main())
