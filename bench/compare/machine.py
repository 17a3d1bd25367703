"""What kind of machine it is, without saying which."""

import os
import platform
import shutil
import subprocess
import time

GIB = 1 << 30
TRIPS = 2000


def describe(filesystem):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = {"processors": str(os.cpu_count()), "memory": f"{memory:.0f} GiB",
             "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]), "filesystem": filesystem,
             "a trip to another process and back": f"{trip():.1f} µs"}
    for program in ("fuse-overlayfs", "unionfs-fuse"):
        if shutil.which(program):
            found[program] = version(program)
    return found


def version(program):
    """The last word of the first line that names the program."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True)
    lines = [line for line in (output.stdout + output.stderr).splitlines() if program in line]
    return lines[0].split()[-1] if lines else "unknown"


def trip():
    """Microseconds to hand a byte to a process on the same processor and have it back, at best: what a request to any
    daemon costs before anything is done about it."""
    to_peer, from_us = os.pipe()
    to_us, from_peer = os.pipe()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    peer = os.fork()
    if peer == 0:
        os.close(from_us)
        while os.read(to_peer, 1):
            os.write(from_peer, b"x")
        os._exit(0)
    try:
        return min(timed_trips(from_us, to_us) for _ in range(5))
    finally:
        for end in (to_peer, from_us, to_us, from_peer):
            os.close(end)
        os.waitpid(peer, 0)
        os.sched_setaffinity(0, allowed)


def timed_trips(from_us, to_us):
    start = time.perf_counter()
    for _ in range(TRIPS):
        os.write(from_us, b"x")
        os.read(to_us, 1)
    return (time.perf_counter() - start) / TRIPS * 1e6
