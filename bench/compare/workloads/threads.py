"""The same small files, stat, opened and read by several processes that share the work."""

import os
import random
import time

from samples import Sample, Workload
from trees import Stack
from workloads.files import open_close, read_file

NAME = "threads"
LAYERS = 8


def side_by_side(jobs):
    """Seconds from letting all go until the last has ended; each job runs in a process of its own."""
    start_reader, start_writer = os.pipe()
    ready_reader, ready_writer = os.pipe()
    workers = []
    try:
        for job in jobs:
            pid = os.fork()
            if pid == 0:
                os.close(start_writer)
                os._exit(work(job, ready_writer, start_reader))
            workers.append(pid)
        for _ in workers:
            os.read(ready_reader, 1)
        start = time.perf_counter()
        os.close(start_writer)
        start_writer = None
        statuses = [os.waitpid(pid, 0)[1] for pid in workers]
        taken = time.perf_counter() - start
        workers.clear()
    finally:
        if start_writer is not None:
            os.close(start_writer)
        for fd in (start_reader, ready_reader, ready_writer):
            os.close(fd)
        for pid in workers:
            end(pid)
    if any(statuses):
        raise OSError("a process of the workload failed")
    return taken


def work(job, ready_writer, start_reader):
    try:
        os.write(ready_writer, b"r")
        os.read(start_reader, 1)  # its end, when all may go
        job()
        return 0
    except BaseException:
        return 1


def end(pid):
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        pass  # it had ended


def workloads(scale):
    def run(mount):
        paths = [str(mount.path / name) for name in mount.stack.files]
        for path in paths:
            read_file(path)
        sample = random.Random(1).sample(paths, min(2 * scale.batch, len(paths)))
        for count in scale.threads:
            shares = [sample[number::count] for number in range(count)]
            for metric, action in (("stat", os.stat), ("open+close", open_close), ("open, read, close", read_file)):
                jobs = [lambda share=share: [action(path) for path in share] for share in shares]
                yield Sample(metric, "us", side_by_side(jobs) * 1e6 / len(sample), str(count))

    return [Workload(NAME, lambda root: Stack(root, LAYERS).add_small_files(scale.layered_files), run)]
