"""The filesystem to measure on: ext4 as distributions make it, with a journal, in a loop-mounted image."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

SIZE_GIB = 8


@contextlib.contextmanager
def ext4(directory):
    """A fresh one below `directory`; gives its mount point."""
    with tempfile.TemporaryDirectory(prefix="strata-compare-", dir=directory) as scratch:
        image, mountpoint = Path(scratch) / "image", Path(scratch) / "disk"
        mountpoint.mkdir()
        with open(image, "wb") as file:
            file.truncate(SIZE_GIB << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mountpoint], check=True)
        try:
            yield mountpoint
        finally:
            subprocess.run(["umount", mountpoint], check=True)


@contextlib.contextmanager
def in_place(directory):
    """`directory` itself, on whatever filesystem it is."""
    with tempfile.TemporaryDirectory(prefix="strata-compare-", dir=directory) as scratch:
        yield Path(scratch)
