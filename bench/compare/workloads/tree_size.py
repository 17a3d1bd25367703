"""Mounting and walking, by the number of files; on eight layers."""

from samples import Workload
from trees import Stack
from workloads.walking import mounted_and_walked

NAME = "files"
LAYERS = 8


def workloads(scale):
    return [Workload(NAME, lambda root, count=count: Stack(root, LAYERS).add_small_files(count, empty=True),
                     mounted_and_walked, point=str(count))
            for count in scale.tree_files]
