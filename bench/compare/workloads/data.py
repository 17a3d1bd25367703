"""Throughput: reading and writing, by calls and through a mapping, in small and in large blocks."""

import mmap
import os
import random

from samples import Sample, Workload
from timing import each, milliseconds
from trees import Stack
from workloads.files import read_file

NAME = "data"
LAYERS = 8
FILE = "big.bin"
SMALL, LARGE = 4096, 1 << 20
BLOCKS = ((LARGE, "1 MiB"), (SMALL, "4 KiB"))
RANDOM_OPERATIONS = 4000
TIMES = 3


def read(path, block):
    buffer = bytearray(block)
    fd = os.open(path, os.O_RDONLY)
    while os.readv(fd, [buffer]):
        pass
    os.close(fd)


def write(path, size, block):
    buffer = bytearray(block)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for _ in range(size // block):
        os.write(fd, buffer)
    os.close(fd)


def map_file(path, flags, protection):
    fd = os.open(path, flags)
    mapping = mmap.mmap(fd, 0, mmap.MAP_SHARED, protection)
    os.close(fd)
    return mapping


def read_mapped(path, block):
    with map_file(path, os.O_RDONLY, mmap.PROT_READ) as mapping:
        for offset in range(0, len(mapping), block):
            mapping[offset : offset + block]  # copies it


def write_mapped(path, block):
    data = b"m" * block
    with map_file(path, os.O_RDWR, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        for offset in range(0, len(mapping), block):
            mapping[offset : offset + block] = data


def at_random(path, size, flags, operation):
    rng = random.Random(2)
    offsets = [rng.randrange(size // SMALL) * SMALL for _ in range(RANDOM_OPERATIONS)]
    buffer = bytearray(SMALL)
    fd = os.open(path, flags)
    taken = min(each(offsets, lambda offset: operation(fd, [buffer], offset)) for _ in range(TIMES))
    os.close(fd)
    return taken


def timed_writes(action):
    """The best of some; each finds nothing left to be written back from before."""
    best = None
    for _ in range(TIMES):
        os.sync()
        taken = milliseconds(action)
        best = taken if best is None else min(best, taken)
    return best


def reads(path, place, size):
    read_file(path)
    for block, label in BLOCKS:
        yield Sample(f"read, {place}, {label}", "ms", milliseconds(lambda: read(path, block), TIMES))
    for block, label in BLOCKS:
        yield Sample(f"mmap read, {place}, {label}", "ms", milliseconds(lambda: read_mapped(path, block), TIMES))
    yield Sample(f"random read, {place}, 4 KiB", "us", at_random(path, size, os.O_RDONLY, os.preadv))


def workloads(scale):
    def run(mount):
        upper = mount.path / "new.bin"
        yield from reads(mount.path / FILE, "lower", scale.big_file)
        for block, label in BLOCKS:
            yield Sample(f"write, upper, {label}", "ms", timed_writes(lambda: write(upper, scale.big_file, block)))
        for block, label in BLOCKS:
            yield Sample(f"mmap write, upper, {label}", "ms", timed_writes(lambda: write_mapped(upper, block)))
        os.sync()
        yield from reads(upper, "upper", scale.big_file)
        yield Sample("random write, upper, 4 KiB", "us", at_random(upper, scale.big_file, os.O_WRONLY, os.pwritev))

    return [Workload(NAME, lambda root: Stack(root, LAYERS).add_file(FILE, scale.big_file), run)]
