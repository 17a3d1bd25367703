"""Layer stacks to measure on: the same files, spread over 1, 8 or 64 layers."""

import os
import random
from pathlib import Path

FILES = 6000
DIRECTORIES = 600
SEED = 20240601
BIG_FILE = "big.bin"
BIG_SIZE = 256 * 1024 * 1024


class Tree:
    """One stack: `layers` (topmost first) and the relative names of the small files in it."""

    def __init__(self, root, count):
        self.layers = [root / str(i) for i in range(count)]
        self.files = []

    def build(self, with_big_file):
        rng = random.Random(SEED)
        data = rng.randbytes(1 << 20)
        directories = [f"d{i % 20:02}/s{i // 20:02}" for i in range(DIRECTORIES)]
        for layer in self.layers:
            layer.mkdir(parents=True)
        for number in range(FILES):
            name = f"{directories[number % DIRECTORIES]}/file{number:05}"
            path = self.layers[number % len(self.layers)] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            size = min(int(rng.lognormvariate(8.5, 1.5)), len(data))
            start = rng.randrange(len(data) - size + 1)
            path.write_bytes(data[start : start + size])
            self.files.append(name)
        if with_big_file:
            with open(self.layers[-1] / BIG_FILE, "wb") as file:
                for _ in range(BIG_SIZE // len(data)):
                    file.write(data)
        return self


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
