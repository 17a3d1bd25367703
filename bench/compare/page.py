"""The page docs/performance.md, all of it from one run but the part about the layer store."""

from pathlib import Path

import report

INTRO = """\
# Performance

stratafs beside kernel overlayfs, fuse-overlayfs, unionfs-fuse and the native directory: the same trees, in turns,
{rounds} rounds. Written by `bench/compare/compare.py` from what it measured; nothing here is typed in.

{machine}

`stratafs` serves over /dev/fuse, `stratafs-uring` over io_uring, and `stratafs-index` mounts the layers through their
merged index, as images of the store are mounted; `stratafs-opens-off` is over io_uring with `opens=off`. Smaller is
better throughout, but for throughputs in the table of figures.
Values are comparable within one run only; the ratios are what other machines should see, too.
"""

AGAIN = """\

## Again

    tools/setup/install.sh build bench
    cmake --preset release && ninja -C build/release stratafs index_chain
    sudo bench/compare/compare.py --stratafs build/release/bin/stratafs --json result.json --markdown docs/performance.md

[bench/compare](../bench/compare/README.md) says what the workloads are and how to measure only some of them.
"""


STORE = "\n## The layer store\n"  # bench/store's, from here to the end


def store_part(path):
    page = Path(path)
    _, title, text = (page.read_text(encoding="utf-8") if page.exists() else "").partition(STORE)
    return title + text


def write(run, base, path):
    kept = store_part(path)
    machine = "\n".join(f"- {name}: {value}" for name, value in run.machine.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write(INTRO.format(rounds=run.rounds, machine=machine))
        file.write("\n".join(report.whole(run, base)) + "\n")
        file.write(AGAIN)
        file.write(kept)
