#!/usr/bin/env python3
"""Measures the layer store beside its peers: import and unpacking of images, and what only a store does.

Run as root: bench/store/store.py --binaries build/release/bin
"""

import argparse
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compare")]

import disk  # noqa: E402
import goals  # noqa: E402
import machine  # noqa: E402
import results  # noqa: E402
import section  # noqa: E402
import steps  # noqa: E402
from unpackers import Failed  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=HERE.parents[1] / "build/release/bin",
                        help="the directory of the programs to measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", default=",".join(steps.STEPS), help="which, separated by commas; default: all")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--full", action="store_const", dest="scale", const=steps.FULL, default=steps.DEFAULT,
                        help="a million tiny files instead of a tenth of that, a layer of 1 GiB, a larger system")
    amount.add_argument("--tiny", action="store_const", dest="scale", const=steps.TINY,
                        help="a little of everything, to see that it works")
    parser.add_argument("--scratch", default=tempfile.gettempdir(),
                        help="a directory on a real disk; an ext4 image is made there")
    parser.add_argument("--json", help="write all values to this file")
    parser.add_argument("--markdown", help="exchange the section about the store in this page")
    parser.add_argument("--from-json", nargs="+", help="measure nothing: report what --json wrote, of the same scale;"
                        " steps may be in several files")
    options = parser.parse_args()
    options.binaries = options.binaries.resolve()
    options.steps = options.steps.split(",")
    for name in options.steps:
        if name not in steps.STEPS:
            parser.error(f"--steps: '{name}' is none of {', '.join(steps.STEPS)}")
    return options


def measured(options):
    described = machine.describe("ext4 with a journal, loop-mounted")
    described.pop("fuse-overlayfs", None)
    described.pop("unionfs-fuse", None)
    for program in ("umoci", "podman"):
        described[program] = machine.version(program)
    run = results.Run(described, options.rounds, [], {})
    with disk.ext4(options.scratch, options.scale.disk) as scratch:
        bench = steps.Bench(run, options.binaries, scratch, options.scratch, options.scale)
        for name in options.steps:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                steps.STEPS[name](bench)
            except (Failed, AssertionError) as error:
                run.note(f"'{name}' failed: {error}".replace(f"{scratch}/", ""))
            bench.clear()
            save(run, options)  # so that a long run that is interrupted has not been in vain
    return run


def merged(runs):
    """The first, with what the others have besides."""
    for other in runs[1:]:
        for key, values in other.results.values.items():
            runs[0].results.values.setdefault(key, values)
        for note in other.notes:
            runs[0].note(note)
    return runs[0]


def save(run, options):
    if options.json:
        found = [{"what": goal.what, "wanted": goal.wanted, "measured": goal.measure(run.results)}
                 for goal in goals.goals(options.scale)]
        results.save(run, options.json, [*found, {"scale": asdict(options.scale)}])


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def main():
    options = arguments()
    if options.from_json:
        run = merged([results.load(path) for path in options.from_json])
    else:
        if os.geteuid() != 0:
            sys.exit("store.py: owners, devices and mounts need root")
        signal.signal(signal.SIGTERM, interrupted)  # leaves as little behind as Ctrl-C does
        run = measured(options)
    lines = section.whole(run, options.scale)
    print("\n".join(lines))
    save(run, options)
    if options.markdown:
        page = Path(options.markdown)
        page.write_text(section.exchange(page.read_text() if page.exists() else "", lines))
    if any("failed" in note and (note.startswith("strata") or note.startswith("'")) for note in run.notes):
        sys.exit("store.py: a step of strata's failed; see the notes")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("store.py: interrupted")
