"""What is measured. Each workload yields (metric, unit, value) with smaller values better."""

import os
import random
import time

from trees import BIG_FILE, BIG_SIZE, drop_caches

SMALL = 4096
LARGE = 1 << 20
RANDOM_OPERATIONS = 4000
BATCH = 1500
COPY_UPS = 300


def seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def each(names, action):
    """Microseconds per name."""
    start = time.perf_counter()
    for name in names:
        action(name)
    return (time.perf_counter() - start) * 1e6 / len(names)


def walk(root):
    stack = [root]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)


def read_file(path):
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, LARGE):
        pass
    os.close(fd)


def open_close(path):
    os.close(os.open(path, os.O_RDONLY))


def stat_missing(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    raise AssertionError(f"{path} exists")


def metadata(mount, tree):
    """Walking, opening and looking up, on any number of layers."""
    drop_caches()
    yield "cold walk+stat", "ms", seconds(lambda: walk(mount)) * 1e3
    walk(mount)
    yield "warm walk+stat", "ms", min(seconds(lambda: walk(mount)) for _ in range(3)) * 1e3
    paths = [os.path.join(mount, name) for name in tree.files]
    each(paths, read_file)
    yield "read all small files, warm", "ms", seconds(lambda: each(paths, read_file)) * 1e3
    sample = random.Random(1).sample(paths, BATCH)
    yield "open+close", "us", each(sample, open_close)
    absent = [os.path.join(mount, "d00/s00", f"absent{i}") for i in range(BATCH)]
    yield "lookup of a missing name", "us", each(absent, stat_missing)


def sequential(path, flags, block):
    buffer = bytearray(block)
    fd = os.open(path, flags, 0o644)
    for _ in range(BIG_SIZE // block):
        if flags & os.O_WRONLY:
            os.write(fd, buffer)
        else:
            os.readv(fd, [buffer])
    os.close(fd)


def at_random(path, flags):
    rng = random.Random(2)
    offsets = [rng.randrange(BIG_SIZE // SMALL) * SMALL for _ in range(RANDOM_OPERATIONS)]
    buffer = bytearray(SMALL)
    fd = os.open(path, flags)
    if flags & os.O_WRONLY:
        result = each(offsets, lambda offset: os.pwritev(fd, [buffer], offset))
    else:
        result = each(offsets, lambda offset: os.preadv(fd, [buffer], offset))
    os.close(fd)
    return result


def data(mount, tree):
    """Reading and writing file contents."""
    lower = os.path.join(mount, BIG_FILE)
    upper = os.path.join(mount, "new.bin")
    read_file(lower)
    for block, label in ((LARGE, "1 MiB"), (SMALL, "4 KiB")):
        yield f"sequential read, lower, {label}", "ms", seconds(
            lambda: sequential(lower, os.O_RDONLY, block)) * 1e3
    yield "random read, lower, 4 KiB", "us", at_random(lower, os.O_RDONLY)
    for block, label in ((LARGE, "1 MiB"), (SMALL, "4 KiB")):
        if os.path.exists(upper):
            os.unlink(upper)
        yield f"sequential write, upper, {label}", "ms", seconds(
            lambda: sequential(upper, os.O_WRONLY | os.O_CREAT, block)) * 1e3
    for block, label in ((LARGE, "1 MiB"), (SMALL, "4 KiB")):
        yield f"sequential read, upper, {label}", "ms", seconds(
            lambda: sequential(upper, os.O_RDONLY, block)) * 1e3
    yield "random read, upper, 4 KiB", "us", at_random(upper, os.O_RDONLY)
    yield "random write, upper, 4 KiB", "us", at_random(upper, os.O_WRONLY)
    os.unlink(upper)
    os.sync()


def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"more")
    os.close(fd)


def changes(mount, tree):
    """Names that come and go, and lower files that are changed for the first time."""
    directory = os.path.join(mount, "fresh")
    os.mkdir(directory)
    names = [os.path.join(directory, f"new{i}") for i in range(BATCH)]
    yield "create", "us", each(names, create)
    yield "rename", "us", each(names, lambda name: os.rename(name, name + "r"))
    yield "unlink, upper", "us", each([name + "r" for name in names], os.unlink)
    files = [os.path.join(mount, name) for name in random.Random(3).sample(tree.files, 3 * COPY_UPS)]
    yield "append, copy-up", "us", each(files[:COPY_UPS], append)
    yield "chmod, copy-up", "us", each(files[COPY_UPS : 2 * COPY_UPS], lambda f: os.chmod(f, 0o600))
    yield "unlink, lower (whiteout)", "us", each(files[2 * COPY_UPS :], os.unlink)

    def touch_big():
        fd = os.open(os.path.join(mount, BIG_FILE), os.O_WRONLY)
        os.pwrite(fd, b"x" * SMALL, 0)
        os.close(fd)

    yield "4 KiB write into 256 MiB lower file", "ms", seconds(touch_big) * 1e3


# Name, layers, and the function.
WORKLOADS = [
    ("1 layer", 1, metadata),
    ("8 layers", 8, metadata),
    ("64 layers", 64, metadata),
    ("data", 8, data),
    ("changes", 8, changes),
]
