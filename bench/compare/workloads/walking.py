"""How long a tree took to mount, and takes to walk."""

from samples import Sample
from timing import drop_caches, milliseconds
from workloads.files import walk


def mounted_and_walked(mount, warm_walks=1):
    root = str(mount.path)
    if mount.milliseconds is not None:
        yield Sample("mount", "ms", mount.milliseconds)
    drop_caches()
    yield Sample("cold walk+stat", "ms", milliseconds(lambda: walk(root)))
    walk(root)
    yield Sample("warm walk+stat", "ms", milliseconds(lambda: walk(root), times=warm_walks))
