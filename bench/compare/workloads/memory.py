"""What a stratafs keeps in memory: idle, with a walked tree known, and with all of it forgotten again."""

import os
import time
from pathlib import Path

from samples import Sample, Workload, strata_only
from trees import Stack
from timing import drop_caches
from workloads.files import walk

NAME = "memory"
DROPS = 3  # one does not get at everything
SETTLED = 5.0  # seconds without further shrinking
PATIENCE = 60
KIB, MIB = 1 << 10, 1 << 20


def processes(pid):
    """It and its children."""
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += (task / "children").read_text().split()
    return [pid] + [process for child in children for process in processes(int(child))]


def resident(pid, *fields):
    """Bytes: the sum of these fields of smaps_rollup, over the processes of the mount."""
    total = 0
    for process in processes(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            if name in fields:
                total += int(value.split()[0]) * KIB
    return total


def own(pid):
    """What is not page cache: a mapped index or program costs nothing that others could use."""
    return resident(pid, "Pss_Anon", "Pss_Shmem")


def forgotten(pid):
    """After the kernel has dropped all it can; forgetting takes the server a while."""
    for _ in range(DROPS):
        drop_caches()
    least, since = own(pid), time.monotonic()
    end = since + PATIENCE
    while time.monotonic() < min(end, since + SETTLED):
        time.sleep(0.2)
        if own(pid) < least:
            least, since = own(pid), time.monotonic()
    return least


def idle(mount):
    os.listdir(mount.path)
    yield Sample("idle, proportional set size", "MiB", resident(mount.pid, "Pss") / MIB)
    yield Sample("idle, own", "MiB", own(mount.pid) / MIB)


def walked(mount):
    os.listdir(mount.path)
    before = own(mount.pid)
    nodes = walk(str(mount.path))
    known = own(mount.pid)
    yield Sample("walked tree, own", "MiB", known / MIB)
    yield Sample("for each known node", "B", max(known - before, 0) / nodes)
    after = forgotten(mount.pid)
    yield Sample("forgotten tree, own", "MiB", after / MIB)
    yield Sample("forgotten tree, own, to idle", "times", after / before)


def over_device(peer):
    """Nodes are the same over io_uring."""
    return strata_only(peer) and peer.transport == "dev"


def workloads(scale):
    return [
        Workload(NAME, lambda root: Stack(root, 1), idle, rounds=1, suits=strata_only),
        Workload(NAME, lambda root: Stack(root, 1).add_small_files(scale.memory_files, empty=True), walked, rounds=1,
                 suits=over_device),
    ]
