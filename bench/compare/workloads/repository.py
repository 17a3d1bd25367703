"""git on a large working tree that came with the image."""

import os
import random
import subprocess

from processes import run as run_program
from samples import Sample, Workload
from timing import drop_caches, milliseconds
from trees import SEED, Stack

NAME = "git"
REPOSITORY = "repository"
BRANCHES = ("first", "second")
OLD = 1_600_000_000
CHANGED = 0.2  # of the files, from one branch to the other
ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": "/nonexistent"}


def git(repository, *arguments):
    return run_program(["git", "-C", str(repository), *arguments], environment=ENVIRONMENT)


def history(files):
    """Two commits as `git fast-import` reads them; the second changes some files and replaces others."""
    rng = random.Random(SEED)
    names = [f"src/{number // 500:02}/{number // 25 % 20:02}/file{number:05}.txt" for number in range(files)]
    changed = rng.sample(range(files), int(files * CHANGED))
    yield from commit(BRANCHES[0], None, ((name, text(rng)) for name in names))
    half = len(changed) // 2
    yield from commit(BRANCHES[1], BRANCHES[0], ((names[i], text(rng)) for i in changed[:half]))
    for i in changed[half:]:
        yield f"D {names[i]}\nM 100644 inline {names[i]}.new\n{blob(text(rng))}"


def text(rng):
    return f"{rng.getrandbits(400):x}\n" * rng.randrange(1, 60)


def blob(content):
    return f"data {len(content)}\n{content}\n"


def commit(branch, parent, files):
    yield f"commit refs/heads/{branch}\ncommitter Bench <bench@localhost> 1700000000 +0000\n{blob(branch)}"
    if parent:
        yield f"from refs/heads/{parent}\n"
    for name, content in files:
        yield f"M 100644 inline {name}\n{blob(content)}"


def make_repository(path, files):
    path.mkdir()
    git(path, "init", "-q", "-b", BRANCHES[0])
    # Only what a copy of the tree keeps says whether a file is unchanged: its time and size.
    for setting in ("core.checkStat=minimal", "core.trustctime=false", "gc.auto=0"):
        git(path, "config", *setting.split("="))
    subprocess.run(["git", "-C", path, "fast-import", "--quiet"], check=True, text=True,
                   input="".join(history(files)))
    git(path, "reset", "-q", "--hard", BRANCHES[0])
    # As old as in an image: git reads again what is no older than its index.
    for directory, _, names in os.walk(path / "src"):
        for name in names:
            os.utime(os.path.join(directory, name), (OLD, OLD))
    git(path, "update-index", "-q", "--refresh")


def workloads(scale):
    def build(root):
        stack = Stack(root, 2)
        make_repository(stack.base / REPOSITORY, scale.repository_files)
        return stack

    def run(mount):
        repository = mount.path / REPOSITORY

        def status():
            if git(repository, "status", "--porcelain"):
                raise OSError("git sees changes where there are none")

        drop_caches()
        yield Sample("git status, cold", "ms", milliseconds(status))
        yield Sample("git status, warm", "ms", milliseconds(status, times=3))
        for branch in reversed(BRANCHES):
            yield Sample(f"git checkout of the {branch} branch", "ms",
                         milliseconds(lambda: git(repository, "checkout", "-q", branch)))

    return [Workload(NAME, build, run, needs=("git",))]
