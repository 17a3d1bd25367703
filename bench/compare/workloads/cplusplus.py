"""make builds a C++ project that came with the image."""

from processes import run as run_program
from samples import Sample, Workload
from timing import drop_caches, milliseconds
from trees import Stack

NAME = "build"
PROJECT = "project"
MODULES = 6  # include directories: most headers are looked for in several
HEADERS_PER_SOURCE = 20

MAKEFILE = """\
SOURCES := $(wildcard source/*.cc)
OBJECTS := $(SOURCES:source/%.cc=build/%.o)
FLAGS := -O0 -std=c++17 -MMD {includes}

build/program: $(OBJECTS)
\tg++ -o $@ $^

build/%.o: source/%.cc
\t@mkdir -p build
\tg++ $(FLAGS) -c -o $@ $<

-include $(OBJECTS:.o=.d)
"""

HEADER = """\
#pragma once
struct Thing{number} {{
  int value = {number};
  int Twice() const {{ return value * 2; }}
}};
"""


def make_project(root, sources):
    includes = [root / f"module{number}" for number in range(MODULES)]
    for directory in (*includes, root / "source"):
        directory.mkdir(parents=True)
    headers = sources * HEADERS_PER_SOURCE
    for number in range(headers):
        (includes[number % MODULES] / f"thing{number}.h").write_text(HEADER.format(number=number))
    for number in range(sources):
        used = [(number * 7 + step) % headers for step in range(HEADERS_PER_SOURCE)]
        # Little from the system: its headers are not on the mount, and would only add to both sides.
        lines = ["#include <cstdlib>"] + [f'#include "thing{header}.h"' for header in used]
        lines += [f"int Sum{number}() {{", "  int sum = 0;"]
        lines += [f"  sum += std::abs(Thing{header}{{}}.Twice());" for header in used]
        lines += ["  return sum;", "}"]
        (root / "source" / f"part{number}.cc").write_text("\n".join(lines) + "\n")
    (root / "source" / "main.cc").write_text("int Sum0();\nint main() { return Sum0() == 0; }\n")
    flags = " ".join(f"-I{directory.name}" for directory in includes)
    (root / "Makefile").write_text(MAKEFILE.format(includes=flags))


def workloads(scale):
    def build(root):
        stack = Stack(root, 2)
        make_project(stack.base / PROJECT, scale.sources)
        return stack

    def run(mount):
        project = mount.path / PROJECT
        make = lambda: run_program(["make", "-s", "-j2"], cwd=project)
        drop_caches()
        yield Sample("C++ build", "ms", milliseconds(make))
        yield Sample("C++ build, nothing to do", "ms", milliseconds(make, times=3))

    return [Workload(NAME, build, run, needs=("make", "g++"))]
