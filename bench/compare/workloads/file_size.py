"""Reading a lower file whole and writing 4 KiB into it for the first time, by its size."""

import os

from samples import Sample, Workload, human
from timing import each, milliseconds
from trees import Stack
from workloads.files import overwrite_start, read_file

NAME = "file size"
MIB = 1 << 20
DATA = b"x" * 4096


def copies(size):
    """So many files of this size there are: a short time is measured on several."""
    return 16 if size <= MIB else 1


def names(size):
    return [f"size{size}.{number}" for number in range(copies(size))]


def workloads(scale):
    def build(root):
        stack = Stack(root, 2)
        for size in scale.file_sizes:
            for name in names(size):
                stack.add_file(name, size)
        return stack

    def run(mount):
        for size in scale.file_sizes:
            paths = [mount.path / name for name in names(size)]
            each(paths, read_file)
            reading = milliseconds(lambda: each(paths, read_file), times=2) / len(paths)
            yield Sample("whole read, warm", "ms", reading, human(size))
            os.sync()
            writing = each(paths, lambda path: overwrite_start(path, DATA)) / 1e3
            yield Sample("first 4 KiB write", "ms", writing, human(size))

    return [Workload(NAME, build, run)]
