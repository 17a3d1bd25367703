"""How things are timed, and how the kernel is made to forget what it cached."""

import os
import time
from pathlib import Path


def seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def milliseconds(action, times=1):
    """The best of so many times: what else the machine does only ever adds."""
    return min(seconds(action) for _ in range(times)) * 1e3


def each(names, action):
    """Microseconds per name."""
    start = time.perf_counter()
    for name in names:
        action(name)
    return (time.perf_counter() - start) * 1e6 / len(names)


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
