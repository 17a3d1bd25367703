"""Who unpacks images: strata's own import and its peers, each as one process that starts with nothing."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from typing import NamedTuple

from inputs import TAG

KIB_OF_MIB = 1024


class Failed(Exception):
    """A program ended with an error."""


class Cost(NamedTuple):
    seconds: float
    cpu: float  # seconds of all its threads, and of the processes it waited for
    peak: float  # MiB of the process, or of the largest it waited for


def timed(binaries, words, **options):
    """Runs it to its end; gives its cost."""
    last = run([binaries / "store_workload", "time", *words], **options).splitlines()[-1]
    cost = json.loads(last)
    return Cost(cost["seconds"], cost["cpu"], cost["peak_kib"] / KIB_OF_MIB)


def run(words, **options):
    """Its output. Interrupted, it does not stay behind."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, **options)
    try:
        output, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        raise Failed(f"{words[0]} failed: {' | '.join(errors.strip().splitlines()[-2:])}")
    return output


class Unpacker:
    """`unpack` does what is timed below an empty directory."""

    name = ""
    program = ""

    def __init__(self, binaries):
        self.binaries = binaries

    def missing(self):
        return shutil.which(self.program) is None

    def unpack(self, image, directory):
        raise NotImplementedError

    def clear(self, directory):
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


class Strata(Unpacker):
    """Brings a layout into a new store: unpacked, verified, indexed, with all that was written on the disk."""

    name = "strata"

    def __init__(self, binaries):
        super().__init__(binaries)
        self.program = str(binaries / "store_workload")

    def source(self, image):
        return image.layout

    def unpack(self, image, directory):
        return timed(self.binaries, [self.program, "import", directory / "store", self.source(image)])

    def step(self, *words):
        """What a step of store_workload tells."""
        return json.loads(run([self.program, *map(str, words)]))


class StrataArchive(Strata):
    """The same from one file, which podman is given, too."""

    name = "strata, archive"

    def source(self, image):
        return image.archive


class Umoci(Unpacker):
    name = program = "umoci"

    def unpack(self, image, directory):
        return timed(self.binaries, ["umoci", "unpack", "--image", f"{image.layout}:{TAG}", directory / "bundle"])


class Podman(Unpacker):
    """With a storage of its own, and the driver that it takes by default."""

    name = "podman load"
    program = "podman"

    def unpack(self, image, directory):
        # A runroot of more than 50 characters is refused.
        self.runroot = tempfile.mkdtemp(prefix="run.")
        return timed(self.binaries, ["podman", "--root", directory / "root", "--runroot", self.runroot,
                                     "--storage-driver", "overlay", "load", "-q", "-i", image.archive])

    def clear(self, directory):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split()[4] for line in file if f" {directory}/" in line or f" {self.runroot}/" in line]
        for mount in reversed(mounts):
            subprocess.run(["umount", "-l", mount], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", self.runroot], check=True)
        super().clear(directory)


class Tar(Unpacker):
    """Extracts the plain tar of a layer, which is less than all others do."""

    name = "tar -x"
    program = "tar"

    def __init__(self, binaries, tar):
        super().__init__(binaries)
        self.tar = tar

    def unpack(self, image, directory):
        root = directory / "root"
        root.mkdir()
        return timed(self.binaries, ["tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf",
                                     self.tar])


class TarSync(Tar):
    """And has it on the disk at the end, as strata does."""

    name = "tar -x, sync"

    def unpack(self, image, directory):
        first = super().unpack(image, directory)
        return first._replace(seconds=first.seconds + timed(self.binaries, ["sync", "-f", directory]).seconds)
