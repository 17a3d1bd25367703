"""SQLite: small transactions in both journal modes, in a new database and in one that came with the image."""

import contextlib
import os
import random
import shutil
import sqlite3

from samples import Sample, Workload
from timing import each, seconds
from trees import SEED, Stack

NAME = "sqlite"
ROWS = 20_000
SEEDED = "seeded.db"
MODES = {"rollback": "DELETE", "WAL": "WAL"}


def fill(path, rows):
    rng = random.Random(SEED)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB)")
        database.executemany("INSERT INTO item (body) VALUES (?)", ((rng.randbytes(150),) for _ in range(rows)))


def transactions(path, mode, count):
    """Microseconds per transaction that changes one row and adds one, durable as SQLite does it by default."""
    rng = random.Random(SEED)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        if database.execute(f"PRAGMA journal_mode={mode}").fetchone()[0].upper() != mode:
            raise OSError(f"no journal mode {mode}")
        rows = database.execute("SELECT max(id) FROM item").fetchone()[0]

        def change(_):
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE item SET body = ? WHERE id = ?", (rng.randbytes(150), rng.randint(1, rows)))
            database.execute("INSERT INTO item (body) VALUES (?)", (rng.randbytes(150),))
            database.execute("COMMIT")

        return each(range(count), change)


def scan(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("SELECT sum(length(body)) FROM item").fetchone()


def workloads(scale):
    def build(root):
        stack = Stack(root, 2)
        fill(stack.base / SEEDED, ROWS)
        for label in MODES:
            shutil.copy(stack.base / SEEDED, stack.base / f"{label}.db")
        return stack

    def run(mount):
        for label, mode in MODES.items():
            fresh = mount.path / f"fresh-{label}.db"
            fill(fresh, ROWS)
            for path, origin in ((fresh, "new"), (mount.path / f"{label}.db", "the image's")):
                os.sync()
                yield Sample(f"sqlite transaction, {label}, {origin} database", "us",
                             transactions(path, mode, scale.transactions))
        yield Sample("sqlite scan, the image's database", "ms",
                     min(seconds(lambda: scan(mount.path / SEEDED)) for _ in range(3)) * 1e3)

    return [Workload(NAME, build, run)]
