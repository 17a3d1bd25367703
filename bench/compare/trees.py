"""Stacks of layers to measure on: the same files, spread over any number of layers."""

import os
import random

SEED = 20240601
FILES_PER_DIRECTORY = 10
POOL = 1 << 20


class Stack:
    """Directories of one tree: `layers` (topmost first), and the relative names of its small files."""

    def __init__(self, root, count):
        self.root = root
        self.layers = [root / str(i) for i in range(count)]
        self.files = []
        for layer in self.layers:
            layer.mkdir(parents=True)

    @property
    def base(self):
        """The lowest layer."""
        return self.layers[-1]

    def add_small_files(self, count, empty=False):
        """As in a system's tree: many of a few KiB, a few of some hundred. Without data if `empty`."""
        rng = random.Random(SEED)
        pool = rng.randbytes(POOL)
        made = set()
        for number in range(count):
            group = number // FILES_PER_DIRECTORY
            directory = f"d{group % 20:02}/s{group // 20:04}"
            # Files of one directory come from several layers, so that the layers' directories merge.
            path = self.layers[number % len(self.layers)] / directory
            if path not in made:
                path.mkdir(parents=True, exist_ok=True)
                made.add(path)
            name = f"file{number:07}"
            if empty:
                os.mknod(f"{path}/{name}", 0o644)
            else:
                size = min(int(rng.lognormvariate(8.5, 1.5)), POOL)
                start = rng.randrange(POOL - size + 1)
                (path / name).write_bytes(pool[start : start + size])
            self.files.append(f"{directory}/{name}")
        return self

    def add_file(self, name, size):
        """One of so many bytes in the lowest layer, all of them on the disk."""
        write_file(self.base / name, size)
        return self


def write_file(path, size):
    block = random.Random(SEED).randbytes(min(size, POOL))
    with open(path, "wb") as file:
        for offset in range(0, size, POOL):
            file.write(block[: size - offset])
