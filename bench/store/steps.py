"""What is measured: each step takes a directory on the disk and gives samples."""

import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import disk
import inputs
from results import Key
from unpackers import Failed, Podman, Strata, StrataArchive, Tar, TarSync, Umoci

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/e2e/cli"))

MIB = 1 << 20
UPKEEP_DISK = 8 << 30


@dataclass(frozen=True)
class Scale:
    debian: int  # bytes of the system's files
    layers: int
    large: int  # bytes
    tiny: int  # files
    versions: int  # files
    store_layers: int
    container_files: int
    disk: int  # bytes


FULL = Scale(600 * MIB, 200, 1024 * MIB, 1_000_000, 3000, 10_000, 100_000, 60 << 30)
DEFAULT = Scale(300 * MIB, 200, 512 * MIB, 100_000, 3000, 10_000, 100_000, 40 << 30)
TINY = Scale(2 * MIB, 4, 16 * MIB, 300, 60, 30, 300, 4 << 30)

FIRST, AGAIN = "the first image", "the second"


class Bench:
    """A run: where it works, with what, and where its values go."""

    def __init__(self, run, binaries, scratch, outside, scale):
        self.run = run  # results.Run
        self.scratch = scratch  # on the filesystem to measure on
        self.outside = outside  # where that has its image
        self.scale = scale
        self.binaries = binaries
        self.strata = Strata(binaries)

    def add(self, workload, metric, unit, who, number, value):
        self.run.results.add(Key(workload, metric, unit), who, number, value)

    def fresh(self, name):
        return Path(tempfile.mkdtemp(prefix=name + "-", dir=self.scratch))

    def clear(self):
        """After a step: the disk is the next one's."""
        for left in self.scratch.iterdir():
            if left.name != "lost+found":
                self.strata.clear(left)

    def rounds(self):
        return range(self.run.rounds)

    def race(self, workload, image, unpackers):
        """All of them in turns, another one first in each round."""
        failed = set()
        for unpacker in list(unpackers):
            if unpacker.missing():
                self.run.note(f"{unpacker.name}: skipped, not installed")
                unpackers.remove(unpacker)
        for number in self.rounds():
            turn = number % len(unpackers)
            for unpacker in unpackers[turn:] + unpackers[:turn]:
                if unpacker.name not in failed and not self.take_turn(workload, image, unpacker, number):
                    failed.add(unpacker.name)

    def take_turn(self, workload, image, unpacker, number):
        directory = self.fresh("unpack")
        os.sync()  # what the one before left to be written is not for this one to wait for
        try:
            cost = unpacker.unpack(image, directory)
        except Failed as error:
            self.run.note(f"{unpacker.name} failed at '{workload}': {error}".replace(f"{self.scratch}/", ""))
            return False
        finally:
            unpacker.clear(directory)
        self.add(workload, "time", "s", unpacker.name, number, cost.seconds)
        self.add(workload, "processor time", "s", unpacker.name, number, cost.cpu)
        self.add(workload, "peak memory", "MiB", unpacker.name, number, cost.peak)
        return True

    def peers(self):
        return [self.strata, StrataArchive(self.binaries), Umoci(self.binaries),
                Podman(self.binaries)]


def debian(bench):
    """A layer of programs, libraries and texts; and what its parts cost alone."""
    image, tar = inputs.debian(bench.fresh("debian"), bench.scale)
    bench.add("debian layer", "size of the tar", "MB", "all", 0, tar.stat().st_size / 1e6)
    bench.race("debian layer", image, [*bench.peers(), Tar(bench.binaries, tar), TarSync(bench.binaries, tar)])
    for number in bench.rounds():
        directory = bench.fresh("stages")
        os.sync()
        for stage, seconds in bench.strata.step("stages", image.layer_blobs[0], directory).items():
            bench.add("stages", stage, "s", "strata", number, seconds)
        target = bench.fresh("index")
        bench.add("stages", "index", "s", "strata", number, bench.strata.step("index", directory, target)["seconds"])
        bench.strata.clear(directory)
        bench.strata.clear(target)


def many_layers(bench):
    bench.race(f"{bench.scale.layers} small layers", inputs.many_layers(bench.fresh("many"), bench.scale), bench.peers())


def one_large(bench):
    bench.race("one large layer", inputs.one_large(bench.fresh("large"), bench.scale), bench.peers())


def tiny_files(bench):
    bench.race(f"{bench.scale.tiny} tiny files", inputs.tiny_files(bench.fresh("tiny"), bench.scale), bench.peers())


def disk_use(directory):
    """Bytes on the disk; what is linked counts once."""
    output = subprocess.run(["du", "-s", "-B1", directory], check=True, text=True, stdout=subprocess.PIPE).stdout
    return int(output.split()[0])


def second_version(bench):
    """An image of which nine of ten files are in the store."""
    images = inputs.two_versions(bench.fresh("versions"), bench.scale)
    for number in bench.rounds():
        directory = bench.fresh("store")
        store = directory / "store"
        used = []
        for image, which in zip(images, (FIRST, AGAIN)):
            os.sync()
            cost = bench.strata.step("import", store, image.layout)
            bench.add("90 % there", f"time of {which}", "s", "strata", number, cost["seconds"])
            used.append((disk_use(store), disk_use(store / "layers")))
        bench.add("90 % there", "growth of the disk, layers", "of the first", "strata", number,
                  (used[1][1] - used[0][1]) / used[0][1])
        bench.add("90 % there", "growth of the disk, with blobs", "of the first", "strata", number,
                  (used[1][0] - used[0][0]) / used[0][0])
        bench.strata.clear(directory)


def upkeep(bench):
    """gc and fsck of a store with many layers, of which one is an image's."""
    with tempfile.TemporaryDirectory(prefix="strata-upkeep-", dir=bench.outside) as directory:
        image = Path(directory) / "image"
        fill_fast(bench, image)
        with disk.mounted(image, Path(directory) / "disk") as mountpoint:
            look_after(bench, mountpoint / "store")


def fill_fast(bench, image):
    """Makes the filesystem with the store in memory, where its thousands of fsyncs cost nothing, and copies it."""
    with tempfile.TemporaryDirectory(prefix="strata-upkeep-", dir="/dev/shm") as memory:
        made = Path(memory) / "image"
        disk.make(made, UPKEEP_DISK)
        with disk.mounted(made, Path(memory) / "disk") as mountpoint:
            bench.strata.step("fill", mountpoint / "store", bench.scale.store_layers)
        subprocess.run(["cp", "--sparse=always", made, image], check=True)


def look_after(bench, store):
    count = bench.scale.store_layers
    for number in bench.rounds():
        checked = bench.strata.step("check", store)
        bench.add("upkeep", "fsck, not deep", "s", "strata", number, checked["seconds"])
    collected = bench.strata.step("collect", store, count - 1)
    bench.add("upkeep", "gc, one layer live", "s", "strata", 0, collected["seconds"])
    bench.add("upkeep", "gc, until all is deleted", "s", "strata", 0, collected["deleted"])


def commit(bench):
    """Of a container that changed ten files of many."""
    os.environ.setdefault("STRATA_BIN_DIR", str(bench.binaries))
    from harness import Daemon, strata  # pylint: disable=import-outside-toplevel
    before = tempfile.tempdir
    # A socket's name is short, that of the scratch directory need not be.
    with tempfile.TemporaryDirectory(prefix="s.") as short:
        tempfile.tempdir = str(bench.scratch)
        try:
            daemon = Daemon(socket=os.path.join(short, "s"))
            try:
                time_commits(bench, daemon, strata)
            finally:
                daemon.stop()
        finally:
            tempfile.tempdir = before


def time_commits(bench, daemon, strata):
    count = bench.scale.container_files
    source = random.Random(inputs.SEED)
    tar = Path(daemon.work) / "files.tar"
    busybox = Path(subprocess.run(["which", "busybox"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip())
    inputs.write_tar(tar, ((f"srv/{number // 1000}/{number}", source.randbytes(200)) for number in range(count)))
    subprocess.run(["tar", "--append", "-f", tar, "-C", busybox.parent, "--mode=0755", "--transform=s,^,bin/,",
                    busybox.name], check=True)
    strata("import", "-q", "-c", 'CMD ["/bin/busybox", "sleep", "100000"]', str(tar), "files")
    container = strata("run", "-d", "--network", "none", "files")
    try:
        for number in bench.rounds():
            changed = " ".join(f"/srv/{at // 1000}/{at}" for at in source.sample(range(count), 10))
            strata("exec", container, "/bin/busybox", "sh", "-c", f"for f in {changed}; do echo {number} >> $f; done")
            start = time.perf_counter()
            strata("commit", container, f"changed:{number}")
            bench.add("commit", "10 changed files", "ms", "strata", number, (time.perf_counter() - start) * 1e3)
    finally:
        strata("rm", "-f", container)


STEPS = {"debian": debian, "layers": many_layers, "large": one_large, "tiny": tiny_files, "versions": second_version,
         "upkeep": upkeep, "commit": commit}
