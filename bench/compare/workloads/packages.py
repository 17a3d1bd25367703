"""A package manager installs into node_modules the way npm does: unpacks beside the place, renames, links.

The packages are made up and unpacked by this program: neither node nor a network is needed, and what is
measured is the filesystem, not a decompressor.
"""

import errno
import os
import random
import shutil

from samples import Sample, Workload
from timing import milliseconds
from trees import SEED, Stack

NAME = "install"
NESTED = 0.1  # of the packages have packages of their own


class Package:
    def __init__(self, rng, number, nested=True):
        self.name = f"@scope{number % 9}/package{number}" if number % 4 == 0 else f"package{number}"
        self.command = f"command{number}" if number % 5 == 0 else None
        self.files = {"package.json": rng.randbytes(900), "README.md": rng.randbytes(rng.randrange(500, 9000)),
                      "LICENSE": rng.randbytes(1100), "bin/run.js": rng.randbytes(400)}
        for part in range(rng.randrange(4, 16)):
            directory = ("lib", "dist/cjs", "dist/esm/internal")[part % 3]
            self.files[f"{directory}/part{part}.js"] = rng.randbytes(int(rng.lognormvariate(7.5, 1)))
        self.inner = []
        if nested and rng.random() < NESTED:
            self.inner = [Package(rng, number * 1000 + i, nested=False) for i in range(3)]


def packages(count):
    rng = random.Random(SEED)
    return [Package(rng, number) for number in range(count)]


def unpack(package, directory):
    made = set()
    for name, data in package.files.items():
        path = os.path.join(directory, name)
        parent = os.path.dirname(path)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        os.close(fd)
    os.chmod(os.path.join(directory, "bin/run.js"), 0o755)


def retire(target):
    """Moves an installed package out of the way; gives where to, or None if there is none."""
    retired = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}-old")
    try:
        os.rename(target, retired)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # As npm does where a union cannot rename a directory of its lower layers.
        shutil.copytree(target, retired, symlinks=True)
        shutil.rmtree(target)
    return retired


def link_command(package, modules):
    bin_directory = os.path.join(modules, ".bin")
    os.makedirs(bin_directory, exist_ok=True)
    link = os.path.join(bin_directory, package.command)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(f"../{package.name}/bin/run.js", link)


def install(wanted, modules):
    """Each package unpacked under a name of its own, what was there retired, renamed into place, linked."""
    retired = []
    for package in wanted:
        target = os.path.join(modules, package.name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        staging = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}-new")
        unpack(package, staging)
        if package.inner:
            install(package.inner, os.path.join(staging, "node_modules"))
        old = retire(target)
        if old:
            retired.append(old)
        os.rename(staging, target)
        if package.command:
            link_command(package, modules)
    for old in retired:
        shutil.rmtree(old)
    replace_file(os.path.join(modules, ".package-lock.json"), b"{}" * 4000)


def replace_file(path, data):
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def workloads(scale):
    wanted = packages(scale.packages)

    def build(root):
        stack = Stack(root, 2)
        install(wanted[::2], stack.base / "image" / "node_modules")
        return stack

    def run(mount):
        fresh = mount.path / "fresh" / "node_modules"
        yield Sample("npm-style install", "ms", milliseconds(lambda: install(wanted, fresh)))
        # Half of them came with the image: its directories are renamed and removed.
        image = mount.path / "image" / "node_modules"
        yield Sample("npm-style install over the image's", "ms", milliseconds(lambda: install(wanted, image)))
        yield Sample("removal of what was installed", "ms", milliseconds(lambda: shutil.rmtree(fresh)))

    return [Workload(NAME, build, run)]
