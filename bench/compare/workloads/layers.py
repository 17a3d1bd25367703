"""Mounting, walking, opening and looking up, by the number of layers."""

import os
import random

from samples import Sample, Workload
from timing import each, milliseconds
from trees import Stack
from workloads.files import open_close, read_file, stat_missing
from workloads.walking import mounted_and_walked

NAME = "layers"


def workloads(scale):
    def build(root, count):
        return Stack(root, count).add_small_files(scale.layered_files)

    def run(mount):
        root = str(mount.path)
        yield from mounted_and_walked(mount, warm_walks=3)
        paths = [os.path.join(root, name) for name in mount.stack.files]
        each(paths, read_file)
        yield Sample("read all small files, warm", "ms", milliseconds(lambda: each(paths, read_file)))
        sample = random.Random(1).sample(paths, min(scale.batch, len(paths)))
        yield Sample("open+close, cached file", "us", each(sample, open_close))
        absent = [os.path.join(root, "d00/s0000", f"absent{i}") for i in range(scale.batch)]
        yield Sample("lookup of a missing name", "us", each(absent, stat_missing))

    return [Workload(NAME, lambda root, count=count: build(root, count), run, point=str(count))
            for count in scale.layers]
