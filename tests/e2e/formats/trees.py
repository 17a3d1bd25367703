"""Directory trees as values that can be compared, and the daemon of the command line's tests."""

import hashlib
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "cli"))
from harness import Daemon, strata, until  # noqa: E402,F401 pylint: disable=wrong-import-position,unused-import


def _content(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)}


def tree(root, whole_seconds=False):
    """{path: what there is}; names of one file have the first of them in common."""
    found = {}
    first_names = {}
    for directory, names, files in os.walk(root):
        for name in sorted(["."] if directory == root else []) + sorted(names + files):
            path = os.path.normpath(os.path.join(directory, name))
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            entry = [oct(info.st_mode), info.st_uid, info.st_gid, info.st_rdev, _xattrs(path)]
            if kind != stat.S_IFDIR:
                entry.append(int(info.st_mtime) if whole_seconds else info.st_mtime_ns)
            if kind == stat.S_IFREG:
                entry += [info.st_size, _content(path)]
            elif kind == stat.S_IFLNK:
                entry.append(os.readlink(path))
            shown = os.path.relpath(path, root)
            if kind != stat.S_IFDIR and info.st_nlink > 1:
                first_names.setdefault((info.st_dev, info.st_ino), []).append(shown)
            found[shown] = entry
    for names in first_names.values():
        for name in names:
            found[name].append(("names", sorted(names)))
    return found


def differences(one, other):
    lines = [f"  {path}: {one.get(path)} != {other.get(path)}"
             for path in sorted(one.keys() | other.keys()) if one.get(path) != other.get(path)]
    return "\n".join(lines)


def expect_same(what, one, other):
    if one != other:
        raise AssertionError(f"{what}:\n{differences(one, other)}")


def expect(what, wanted, got):
    if wanted != got:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")
