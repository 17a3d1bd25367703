"""tar unpacks an archive of many small files."""

import io
import random
import tarfile

from processes import run as run_program
from samples import Sample, Workload
from timing import milliseconds
from trees import SEED, Stack

NAME = "untar"
ARCHIVE = "archive.tar"


def make_archive(path, files):
    """Directories of about twenty files each; every hundredth entry is a link."""
    rng = random.Random(SEED)
    pool = rng.randbytes(1 << 18)
    with tarfile.open(path, "w") as archive:
        for number in range(files):
            directory = f"tree/{number // 400:03}/{number // 20 % 20:02}"
            if number % 20 == 0:
                archive.addfile(entry(directory, tarfile.DIRTYPE, 0o755))
            member = entry(f"{directory}/file{number:05}", tarfile.REGTYPE, 0o644)
            if number % 100 == 99:
                member.type, member.linkname = tarfile.SYMTYPE, f"file{number - 1:05}"
            else:
                member.size = min(int(rng.lognormvariate(8, 1.3)), len(pool))
            archive.addfile(member, io.BytesIO(pool))


def entry(name, kind, mode):
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, 1_700_000_000
    return member


def workloads(scale):
    def build(root):
        stack = Stack(root, 2)
        make_archive(stack.base / ARCHIVE, scale.archive_files)
        return stack

    def run(mount):
        command = ["tar", "-xf", str(mount.path / ARCHIVE), "-C", str(mount.path)]
        yield Sample("tar -x of many files", "ms", milliseconds(lambda: run_program(command)))

    return [Workload(NAME, build, run, needs=("tar",))]
