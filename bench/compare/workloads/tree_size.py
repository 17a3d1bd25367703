"""Mounting and walking, by the number of files; on eight layers."""

from samples import Sample, Workload
from timing import drop_caches, milliseconds
from trees import Stack
from workloads.files import walk

NAME = "files"
LAYERS = 8


def run(mount):
    root = str(mount.path)
    if mount.milliseconds is not None:
        yield Sample("mount", "ms", mount.milliseconds)
    drop_caches()
    yield Sample("cold walk+stat", "ms", milliseconds(lambda: walk(root)))
    walk(root)
    yield Sample("warm walk+stat", "ms", milliseconds(lambda: walk(root)))


def workloads(scale):
    return [Workload(NAME, lambda root, count=count: Stack(root, LAYERS).add_small_files(count, empty=True), run,
                     point=str(count))
            for count in scale.tree_files]
