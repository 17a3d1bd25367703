"""Mixes of reads and writes by fio, on a file of the upper layer."""

import json
import os

from processes import run as run_program
from samples import Sample, Workload
from trees import Stack, write_file

NAME = "fio"
FILE = "fio.bin"
MIXES = {
    "random 4 KiB, 70 % reads": ["--rw=randrw", "--rwmixread=70", "--bs=4k"],
    "random 4 KiB, 70 % reads, 4 jobs": ["--rw=randrw", "--rwmixread=70", "--bs=4k", "--numjobs=4", "--group_reporting"],
    "random 4 KiB through a mapping": ["--rw=randrw", "--rwmixread=70", "--bs=4k", "--ioengine=mmap"],
    "sequential 64 KiB writes, fdatasync every 32": ["--rw=write", "--bs=64k", "--fdatasync=32"],
}


def mix(path, size, options):
    """Milliseconds that it takes to do this mix on the whole file."""
    output = run_program(["fio", "--name=mix", f"--filename={path}", f"--size={size}", "--ioengine=psync",
                          "--invalidate=0", "--overwrite=1", "--randrepeat=1", "--output-format=json", *options])
    # Jobs of a group: the time of the whole group is that of its longest.
    job = json.loads(output[output.index("{") :])["jobs"][0]
    return max(job[kind]["runtime"] for kind in ("read", "write"))


def workloads(scale):
    def run(mount):
        path = mount.path / FILE
        write_file(path, scale.fio_file)
        for label, options in MIXES.items():
            os.sync()
            yield Sample(label, "ms", mix(path, scale.fio_file, options))

    return [Workload(NAME, lambda root: Stack(root, 2), run, needs=("fio",))]
