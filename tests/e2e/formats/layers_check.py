#!/usr/bin/env python3
"""What strata, umoci, podman and docker make of the same random layers, file by file, against what the layers mean.

    layers_check.py [CASES [SEED [PEER...]]]

make_layers writes an image with a directory for each case and says what has to come of it: by layers that are kept
apart and merged, and by layers that are extracted one over the other. Each program is held to the reading that is its
own. What one can not read at all is left out of its image; where one is known to do something else, EXCUSES says why.
Strata has no such excuse. A case that failed is run again by its number: layers_check.py 1 SEED.
"""

import collections
import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys

from peers_check import Docker, Layout, Podman, run, scratch
from trees import Daemon, strata

CASES = 1200
SEED = 5_000_000
SHOWN = 5  # failures of a program
MAKE_LAYERS = os.path.join(os.environ["STRATA_BIN_DIR"], "make_layers")
TAG = "1"

# The two readings.
APART, OVER = "layered", "sequential"


def as_bytes(text):
    return text.encode("latin-1")


class Node(collections.namedtuple("Node", "mode uid gid device xattrs mtime content first")):
    """A name in a tree; `mtime` is None where nothing is known of it, `first` the first name of the same file."""

    @classmethod
    def wanted(cls, fields):
        mode, uid, gid, device, xattrs, mtime, content, first = fields
        xattrs = {name: as_bytes(value) for name, value in xattrs.items()}
        mtime = mtime and mtime[0] * 10**9 + mtime[1]
        return cls(mode, uid, gid, device, xattrs, mtime, content, first)

    @classmethod
    def found(cls, path, info, first):
        content = ""
        if stat.S_ISREG(info.st_mode):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path).decode("latin-1")
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False)
                  for name in os.listxattr(path, follow_symlinks=False)}
        device = info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0
        return cls(info.st_mode, info.st_uid, info.st_gid, device, xattrs, info.st_mtime_ns, content, first)


def read_tree(root):
    """{path: Node} of all below a case's directory, itself included as ""; empty if it is not there."""
    infos = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(root, path) if path else root
        try:
            infos[path] = os.lstat(full)
        except FileNotFoundError:
            continue  # kernel overlayfs lists whiteouts that hide nothing, and does not find them
        if stat.S_ISDIR(infos[path].st_mode):
            pending += [os.path.join(path, name) for name in os.listdir(full)]
    found = {}
    first_names = {}
    for path, info in sorted(infos.items()):
        first = path
        if not stat.S_ISDIR(info.st_mode):
            first = first_names.setdefault((info.st_dev, info.st_ino), path)
        full = os.path.join(root, path) if path else root
        found[path] = Node.found(full, info, first.decode("latin-1") if first != path else "")
    return found


class Case:
    def __init__(self, name, said):
        self.name = name
        self.oddities = set(said["oddities"])
        self.trees = {APART: said[APART], OVER: said.get(OVER, said[APART])}

    def tree(self, reading):
        """None if it can not be read this way."""
        tree = self.trees[reading]
        return tree and {as_bytes(path): Node.wanted(fields) for path, fields in tree.items()}


class Image:
    """Of so many seeds, without cases of some oddities."""

    def __init__(self, work, seed, count, left_out):
        subprocess.run([MAKE_LAYERS, work, str(seed), str(count), *left_out], check=True)
        layout = Layout(os.path.join(work, "layout"))
        tars = []
        for number in range(3):
            with open(os.path.join(work, f"{number}.tar"), "rb") as file:
                tars.append(layout.put(file.read(), "layer.v1.tar"))
        layout.name(layout.put_image(tars, "amd64")[1], TAG)
        self.layout = layout.path
        with open(os.path.join(work, "expected.json"), encoding="ascii") as file:
            self.cases = [Case(name, said) for name, said in json.load(file).items()]


def comparable(wanted, found):
    """Both without what the specification leaves open: when a directory was changed, and what one is that no entry
    names. Whether one is made for the whiteouts in it alone is open, too."""
    open_names = {path for path, node in wanted.items() if node.mtime is None}
    for path in sorted(open_names, reverse=True):
        below = path + b"/" if path else b""
        if not any(other != path and other.startswith(below) for other in wanted):
            del wanted[path]
            found.pop(path, None)
            open_names.discard(path)
    sides = []
    for side in (wanted, found):
        sides.append({path: loosened(node, path in open_names) for path, node in side.items()})
    return sides


def loosened(node, implied):
    if not stat.S_ISDIR(node.mode):
        return node
    if implied:
        return node._replace(mode=stat.S_IFDIR, uid=0, gid=0, xattrs={}, mtime=None)
    return node._replace(mtime=None)


def wrong_lines(wanted, found):
    wanted, found = comparable(wanted, found)
    lines = []
    for path in sorted(wanted.keys() | found.keys()):
        if wanted.get(path) != found.get(path):
            lines.append(f"  {path!r}:\n    wanted {wanted.get(path)}\n    found  {found.get(path)}")
    return lines


# No program written in Go: archive/tar knows no such entries, and extraction needs targets that are there.
NOT_IN_GO = ("old GNU sparse", "hard link before its target", "hard link to itself")
# pax says that an empty record counts as none, so Go drops xattrs without a value.
GO_EXCUSES = {"empty xattr"}


class Reader:
    """A program that makes trees of layers. `tree` gives the directory that has them."""

    name = ""
    program = ""
    reading = APART
    left_out = ()
    excuses = frozenset()

    def __init__(self, work):
        self.work = work

    @contextlib.contextmanager
    def tree(self, image):
        raise NotImplementedError

    def close(self):
        pass


class Strata(Reader):
    name = "strata"
    program = os.path.join(os.environ["STRATA_BIN_DIR"], "strata")

    def __init__(self, work):
        super().__init__(work)
        self.daemon = Daemon()

    @contextlib.contextmanager
    def tree(self, image):
        strata("import", "-q", image.layout, "layers:1")
        target = os.path.join(self.work, "mounted")
        os.makedirs(target)
        strata("mount", "layers:1", target)
        try:
            yield target
        finally:
            strata("umount", target)

    def close(self):
        self.daemon.stop()


class Umoci(Reader):
    name = program = "umoci"
    reading = OVER
    left_out = (*NOT_IN_GO, "only by layers apart",
                "whiteout after a path through its name")  # it goes by the order of entries
    excuses = GO_EXCUSES | {
        "time after 2262",  # nanoseconds in 64 bits
        "directory again, with xattrs"}  # the first entry's are taken away

    @contextlib.contextmanager
    def tree(self, image):
        bundle = os.path.join(self.work, "bundle")
        run("umoci", "unpack", "--image", f"{image.layout}:{TAG}", bundle)
        yield os.path.join(bundle, "rootfs")


# Of those that keep layers apart and unpack them by the same ancestor's code.
NOT_FOR_DRIVERS = (
    *NOT_IN_GO,
    "name twice",  # tar-split refuses it
    "whiteout after its name", "path through a whiteout",  # mknod finds something in its place
    "something else in a directory's place",  # whose times are set at the end
    "aufs")  # read as whiteouts where it is not at the layer's root
DRIVER_EXCUSES = GO_EXCUSES | {
    "time before 1970", "time after 2262",  # taken for 1970
    "directory after its whiteout",  # it is not opaque, so lower names show in it
    "implied directory over a lower one"}  # it hides what the lower one is


class PodmanOverlay(Reader):
    name = program = "podman"
    left_out = NOT_FOR_DRIVERS
    excuses = DRIVER_EXCUSES

    def __init__(self, work):
        super().__init__(work)
        self.peer = Podman(work)
        self.peer.driver = "overlay"

    @contextlib.contextmanager
    def tree(self, image):
        identity = self.peer.pull(image.layout, f":{TAG}")
        try:
            yield self.peer.podman("image", "mount", identity)
        finally:
            self.peer.podman("image", "unmount", identity)

    def close(self):
        self.peer.close()


class DockerOverlay(Reader):
    name, program = "docker", "dockerd"
    left_out = NOT_FOR_DRIVERS
    excuses = DRIVER_EXCUSES

    def __init__(self, work):
        super().__init__(work)
        self.peer = Docker(work, "overlay2")

    @contextlib.contextmanager
    def tree(self, image):
        archive = os.path.join(self.work, "archive")
        run("skopeo", "copy", "-q", "--insecure-policy", f"oci:{image.layout}:{TAG}",
            f"docker-archive:{archive}:layers:1")
        self.peer.docker("load", "-q", "-i", archive)
        where = json.loads(self.peer.docker("image", "inspect", "layers:1"))[0]["GraphDriver"]["Data"]
        target = os.path.join(self.work, "mounted")
        os.makedirs(target)
        run("mount", "-t", "overlay", "-o", f"lowerdir={where['UpperDir']}:{where['LowerDir']}", "overlay", target)
        try:
            yield target
        finally:
            run("umount", target)

    def close(self):
        self.peer.close()


READERS = (Strata, Umoci, PodmanOverlay, DockerOverlay)


def check(reader, image):
    """How many cases were read as they mean, and what is wrong with the others, those with an excuse apart."""
    right, excused, wrong = 0, collections.Counter(), []
    with reader.tree(image) as root:
        for case in image.cases:
            found = read_tree(os.fsencode(os.path.join(root, case.name)))
            lines = wrong_lines(case.tree(reader.reading), found)
            if not lines:
                right += 1
            elif reader.excuses & case.oddities:
                excused.update(reader.excuses & case.oddities)
            else:
                wrong.append("\n".join([f"{case.name}, with {', '.join(sorted(case.oddities))}:", *lines]))
    print(f"{reader.name}: {right} of {len(image.cases)} cases as they mean, {len(wrong)} wrong; excused {dict(excused)}",
          flush=True)
    return wrong


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else SEED
    failed = False
    for make in READERS:
        if sys.argv[3:] and make.name not in sys.argv[3:]:
            continue
        if shutil.which(make.program) is None:
            print("SKIP", make.name, "is not installed")
            continue
        with scratch(None) as work:
            image = Image(work, seed, count, make.left_out)
            reader = make(work)
            try:
                wrong = check(reader, image)
            finally:
                reader.close()
            for text in wrong[:SHOWN]:
                print(f"{reader.name}: {text}")
            failed = failed or bool(wrong) or not image.cases
    sys.exit(failed)


if __name__ == "__main__":
    main()
