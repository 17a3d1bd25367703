"""The filesystem to measure on: ext4 as distributions make it, with a journal, in a loop-mounted image."""

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

BYTES_PER_INODE = 8192


@contextlib.contextmanager
def ext4(directory, size):
    """A fresh one below `directory`; gives its mount point."""
    with tempfile.TemporaryDirectory(prefix="strata-compare-", dir=directory) as scratch:
        image = Path(scratch) / "image"
        make(image, size)
        with mounted(image, Path(scratch) / "disk") as mountpoint:
            yield mountpoint


def make(image, size):
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-i", str(BYTES_PER_INODE), image], check=True)


@contextlib.contextmanager
def mounted(image, mountpoint):
    mountpoint.mkdir()
    # Nothing but what is measured should write: inode tables are not zeroed in the background.
    subprocess.run(["mount", "-o", "loop,noinit_itable", image, mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        detach(mountpoint)


def detach(mountpoint):
    """Unmounts, and waits a moment for programs that are only just gone."""
    for _ in range(50):
        if subprocess.run(["umount", mountpoint], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", mountpoint], check=True)


@contextlib.contextmanager
def in_place(directory, _size):
    """`directory` itself, on whatever filesystem it is."""
    with tempfile.TemporaryDirectory(prefix="strata-compare-", dir=directory) as scratch:
        yield Path(scratch)
