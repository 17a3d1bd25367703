"""Names that come and go, and lower files that are changed for the first time."""

import os
import random

from samples import Sample, Workload
from timing import each, milliseconds
from trees import Stack
from workloads.files import append, create

NAME = "changes"
LAYERS = 8
BIG_FILE = "big.bin"


def workloads(scale):
    def build(root):
        return Stack(root, LAYERS).add_small_files(max(scale.layered_files, 3 * scale.copy_ups)).add_file(
            BIG_FILE, scale.big_file)

    def run(mount):
        directory = mount.path / "fresh"
        os.mkdir(directory)
        names = [os.path.join(directory, f"new{i}") for i in range(scale.batch)]
        yield Sample("create", "us", each(names, create))
        yield Sample("rename", "us", each(names, lambda name: os.rename(name, name + "r")))
        yield Sample("unlink, upper", "us", each([name + "r" for name in names], os.unlink))
        count = scale.copy_ups
        files = [os.path.join(mount.path, name)
                 for name in random.Random(3).sample(mount.stack.files, 3 * count)]
        yield Sample("append, copy-up", "us", each(files[:count], append))
        yield Sample("chmod, copy-up", "us", each(files[count : 2 * count], lambda name: os.chmod(name, 0o600)))
        yield Sample("unlink, lower (whiteout)", "us", each(files[2 * count :], os.unlink))
        os.sync()
        yield Sample("chmod of a large file, copy-up", "ms",
                     milliseconds(lambda: os.chmod(mount.path / BIG_FILE, 0o600)))

    return [Workload(NAME, build, run)]
