"""How much of everything is measured: the default, all there is (--full), and a few seconds' worth (--tiny)."""

from dataclasses import dataclass, replace

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Scale:
    layers: tuple = (1, 8, 64, 250, 500, 1000)
    layered_files: int = 6000  # spread over each number of layers
    tree_files: tuple = (1_000, 10_000)
    file_sizes: tuple = (4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB)
    threads: tuple = (1, 2, 4, 8, 16)
    big_file: int = 256 * MIB
    batch: int = 1500  # operations on small files
    copy_ups: int = 300
    archive_files: int = 10_000
    repository_files: int = 10_000
    sources: int = 30  # of the C++ project
    packages: int = 250  # of the npm-style installation
    transactions: int = 150
    fio_file: int = 64 * MIB
    memory_files: int = 1_000_000
    disk: int = 24 * GIB  # the image that all is measured on; sparse


DEFAULT = Scale()
FULL = replace(DEFAULT, tree_files=(1_000, 10_000, 100_000, 1_000_000),
               file_sizes=(*DEFAULT.file_sizes, 10 * GIB), disk=64 * GIB)
TINY = Scale(layers=(1, 4), layered_files=60, tree_files=(50,), file_sizes=(4 * KIB, 2 * MIB), threads=(1, 2),
             big_file=2 * MIB, batch=20, copy_ups=10, archive_files=50, repository_files=40, sources=2, packages=4,
             transactions=3, fio_file=MIB, memory_files=500, disk=GIB)
