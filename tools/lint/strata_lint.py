#!/usr/bin/env python3
"""Checks of the source tree that no compiler makes. One rule a function; each yields findings.

    strata_lint.py [--rule NAME]... ROOT

Prints "path:line: [rule] what is wrong" for each finding; exit status 1 if there is one, 2 on bad
usage. A line is exempt from the rule `calls` with a trailing comment "lint: RULE_WORD: reason".
"""

import argparse
import os
import re
import sys
from typing import Callable, Iterator, NamedTuple

SOURCE_DIRS = ("base", "layerstore", "fusefs", "manager", "tools", "bench", "tests")
SOURCE_SUFFIXES = (".cc", ".h")

# Who may include whom; DESIGN, "Layout and who may call whom". The longest prefix of a file's folder
# decides. A folder may always include itself and what is below it.
ARROWS = {
    "base": (),
    "layerstore": ("base",),
    "fusefs/union": ("base", "layerstore/index"),
    "fusefs/transport": ("base",),
    "fusefs/control": ("base",),
    "fusefs/frontend": ("base", "fusefs/union", "fusefs/transport"),
    "fusefs/daemon": ("base", "fusefs", "layerstore/index"),
    "manager": ("base", "layerstore", "fusefs/control"),
    "tools": SOURCE_DIRS,
    "bench": SOURCE_DIRS,
    "tests": SOURCE_DIRS,
}
PRODUCTION = ("base/", "layerstore/", "fusefs/", "manager/")


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


class Tree:
    """The source files beneath a root, by path relative to it."""

    def __init__(self, root: str):
        self.root = root
        self.sources = sorted(self._walk(SOURCE_SUFFIXES))

    def _walk(self, suffixes: tuple[str, ...]) -> Iterator[str]:
        for top in SOURCE_DIRS:
            for folder, names, files in os.walk(os.path.join(self.root, top)):
                names[:] = [n for n in names if n != "__pycache__"]
                for name in files:
                    if name.endswith(suffixes):
                        yield os.path.relpath(os.path.join(folder, name), self.root)

    def scripts(self) -> list[str]:
        return sorted(self._walk((".py", ".sh", ".txt", ".cmake")))

    def exists(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.root, path))

    def lines(self, path: str) -> list[str]:
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read().split("\n")


TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<delim>[^()\\\s]{0,16})\(.*?\)(?P=delim)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'""",
    re.DOTALL,
)


def code_only(lines: list[str]) -> list[str]:
    """The lines with comments and the insides of literals blanked, line numbers kept."""

    def blank(match: re.Match) -> str:
        text = match.group(0)
        kept = "\n" * text.count("\n")
        return kept if text.startswith("/") else '""' + kept

    return TOKENS.sub(blank, "\n".join(lines)).split("\n")


def allowed_folders(path: str) -> tuple[str, tuple[str, ...]] | None:
    folder = os.path.dirname(path)
    best = max(
        (p for p in ARROWS if folder == p or folder.startswith(p + "/")), key=len, default=None
    )
    return None if best is None else (best, ARROWS[best])


def check_arrows(tree: Tree) -> Iterator[Finding]:
    include = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<((?:%s)/[^>]+)>)' % "|".join(SOURCE_DIRS))
    for path in tree.sources:
        rule = allowed_folders(path)
        for number, line in enumerate(tree.lines(path), 1):
            match = include.match(line)
            if not match:
                continue
            target = match.group(1) or match.group(2)
            if not tree.exists(target):
                yield Finding(path, number, "arrows", f'"{target}" is not a path from the root')
                continue
            if rule is None:
                yield Finding(path, number, "arrows", "this folder has no place in the design")
                continue
            own, others = rule
            if not any(target.startswith(folder + "/") for folder in (own, *others)):
                yield Finding(path, number, "arrows", f'{own} may not include "{target}"')


def names_word(line: str, word: str) -> bool:
    return re.search(r"(?<![\w./-])%s(?![\w./-])" % re.escape(word), line) is not None


def check_tests_listed(tree: Tree) -> Iterator[Finding]:
    for path in tree.sources:
        if not path.endswith("_test.cc"):
            continue
        name, folder = os.path.basename(path), os.path.dirname(path)
        listing = os.path.join(folder, "CMakeLists.txt")
        lines = [line.split("#")[0] for line in tree.lines(listing)] if tree.exists(listing) else []
        listed = any(names_word(line, name) for line in lines) or (
            # foreach(part a b) strata_test(… ${part}_test.cc)
            any(re.search(r"\$\{\w+\}_test\.cc", line) for line in lines)
            and any("foreach(" in line and names_word(line, name[: -len("_test.cc")]) for line in lines)
        )
        if not listed:
            yield Finding(path, 1, "tests-listed", f"not named in {listing}: it never runs")


def check_markers(tree: Tree) -> Iterator[Finding]:
    marker = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b(?!\(#\d+\))")
    for path in tree.sources + tree.scripts():
        for number, line in enumerate(tree.lines(path), 1):
            match = marker.search(line)
            # A run of X is a name pattern of mktemp.
            if match and not (match.group(1)[0] == "X" and re.search(r"X{4}", line)):
                yield Finding(path, number, "markers", f"{match.group(1)} without an issue: (#N)")


CALLS = (
    ("void-cast", re.compile(r"\(void\)\s*[A-Za-z_:][\w:.<>]*(->[\w:]+)*\s*\("),
     "a result thrown away with (void): use strata::Ignore with a reason", PRODUCTION + ("tests/", "tools/", "bench/")),
    ("raw-close", re.compile(r"(?<![\w.>:])(::\s*)?close\s*\("),
     "descriptors are owned by UniqueFd", ("layerstore/", "fusefs/", "manager/")),
    ("raw-open", re.compile(r"(?<![\w.>:])(::\s*)?(open|openat|creat)\s*\("),
     "files are opened through FileOps", ("layerstore/", "fusefs/union/", "manager/")),
    ("std-mutex", re.compile(r"\bstd::(shared_|recursive_|timed_)?mutex\b"),
     "mutexes are strata::Mutex, which the analysis understands", ("layerstore/", "fusefs/", "manager/")),
    ("using-namespace", re.compile(r"^\s*using\s+namespace\s+(?!std::(chrono_)?literals|std::\w+_literals)"),
     "using namespace is banned", PRODUCTION),
    ("system", re.compile(r"(?<![\w.>])(::|std::)?(system|popen)\s*\("),
     "no shell between the program and what it runs", PRODUCTION),
)


LOCAL_FUNCTION = re.compile(r"\bauto\s+(\w+)\s*=\s*\[")


def check_calls(tree: Tree) -> Iterator[Finding]:
    for path in tree.sources:
        rules = [r for r in CALLS if path.startswith(r[3])]
        raw = tree.lines(path)
        code = code_only(raw)
        own = set(LOCAL_FUNCTION.findall("\n".join(code)))  # lambdas that share a system call's name
        for number, line in enumerate(code, 1):
            for word, pattern, text, _ in rules:
                calls = [m for m in pattern.finditer(line) if m.group(0).rstrip("( ") not in own]
                if calls and not re.search(r"//.*\blint: %s: \S" % word, raw[number - 1]):
                    yield Finding(path, number, "calls", f"{word}: {text}")


def check_headers(tree: Tree) -> Iterator[Finding]:
    for path in tree.sources:
        if not path.endswith(".h"):
            continue
        lines = tree.lines(path)
        if not lines[0].startswith(("// ", "/*")):
            yield Finding(path, 1, "headers", "the first comment says what the header promises")
        if "#pragma once" not in lines:
            yield Finding(path, 1, "headers", "no #pragma once")


RULES: dict[str, Callable[[Tree], Iterator[Finding]]] = {
    "arrows": check_arrows,
    "tests-listed": check_tests_listed,
    "markers": check_markers,
    "calls": check_calls,
    "headers": check_headers,
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Checks of the source tree that no compiler makes.")
    parser.add_argument("--rule", action="append", choices=sorted(RULES), help="default: all")
    parser.add_argument("root")
    options = parser.parse_args(argv)
    tree = Tree(options.root)
    if not tree.sources:
        print(f"strata_lint: no sources beneath {options.root}", file=sys.stderr)
        return 2
    findings = [f for rule in options.rule or sorted(RULES) for f in RULES[rule](tree)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
