"""What workloads do to files."""

import os

BLOCK = 1 << 20


def walk(root):
    """Stats all that is below; gives how many that were."""
    count = 0
    stack = [root]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return count


def read_file(path):
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, BLOCK):
        pass
    os.close(fd)


def open_close(path):
    os.close(os.open(path, os.O_RDONLY))


def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"more")
    os.close(fd)


def overwrite_start(path, data):
    """A first write after the open."""
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, 0)
    os.close(fd)


def stat_missing(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return
    raise AssertionError(f"{path} exists")
