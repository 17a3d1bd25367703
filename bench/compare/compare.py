#!/usr/bin/env python3
"""Measures stratafs beside its peers: the same trees, interleaved rounds, ratios with their spread.

Run as root: bench/compare/compare.py --stratafs build/release/bin/stratafs
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict, replace

import containers
import disk
import figures
import machine
import page
import peers
import report
import results
import scale
from measure import measure
from samples import human
from workloads import NAMES, workloads


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stratafs", default="stratafs", help="the program to measure")
    parser.add_argument("--options", default="", help="more -o options for every stratafs")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=OPTION,...",
                        help="one more stratafs, with these -o options; 'index' mounts through the index of the layers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="", help="which, separated by commas; default: all")
    parser.add_argument("--workloads", default="*",
                        help="which, separated by commas; patterns of " + ", ".join(NAMES))
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--full", action="store_const", dest="scale", const=scale.FULL, default=scale.DEFAULT,
                        help="trees of up to a million files and a file of 10 GiB; takes hours")
    amount.add_argument("--tiny", action="store_const", dest="scale", const=scale.TINY,
                        help="a little of everything, to see that it works")
    parser.add_argument("--base", default="overlayfs", help="what the ratios in the tables are relative to")
    parser.add_argument("--scratch", default=tempfile.gettempdir(),
                        help="a directory on a real disk; an ext4 image is made there")
    parser.add_argument("--in-place", action="store_true",
                        help="measure on the filesystem of --scratch itself instead")
    parser.add_argument("--json", help="write all values to this file")
    parser.add_argument("--markdown", help="write the page of results to this file")
    parser.add_argument("--from-json", help="measure nothing: report what --json wrote")
    parser.add_argument("--strata", default="strata", help="the client, for --image")
    parser.add_argument("--image", help="an image both strata and podman have: times `run`, too")
    options = parser.parse_args()
    try:
        options.known = peers.all_peers(options.stratafs, [word for word in options.options.split(",") if word],
                                        options.variant)
    except ValueError as error:
        parser.error(f"--variant: {error}")
    options.peers = [name for name in options.peers.split(",") if name] or list(options.known)
    for name in options.peers:
        if name not in options.known:
            parser.error(f"--peers: '{name}' is none of {', '.join(options.known)}")
    options.workloads = options.workloads.split(",")
    if not workloads(options.scale, options.workloads):
        parser.error(f"--workloads: none of {', '.join(NAMES)}")
    return options


def usable_peers(options, run):
    usable = []
    for name in options.peers:
        peer = options.known[name]
        why_not = peer.missing()
        if why_not:
            run.note(f"{name}: skipped, {why_not}")
        else:
            usable.append(peer)
    return usable


def fitting(amount, directory, run):
    """Without the files of which the disk does not hold the lower one, a copy, and as much again to spare."""
    free = shutil.disk_usage(directory).free
    sizes = tuple(size for size in amount.file_sizes if 3 * size <= free)
    for size in amount.file_sizes[len(sizes) :]:
        run.note(f"file size {human(size)}: skipped, the disk has no room for three of it")
    return replace(amount, file_sizes=sizes)


def measured(options):
    filesystem = "that of --scratch" if options.in_place else "ext4 with a journal, loop-mounted"
    run = results.Run(machine.describe(filesystem), options.rounds, [], {})
    usable = usable_peers(options, run)
    run.peers = [peer.name for peer in usable]
    run.servers = {peer.name: results.Server(peer.transport, peer.through_index, peer.passthrough)
                   for peer in usable if isinstance(peer, peers.Strata)}
    todo = workloads(fitting(options.scale, options.scratch, run), options.workloads)
    with (disk.in_place if options.in_place else disk.ext4)(options.scratch, options.scale.disk) as scratch:
        for workload in todo:
            measure(run, workload, usable, scratch)
            save(run, options)  # so that a long run that is interrupted has not been in vain
    if options.image:
        containers.measure(run, options.strata, options.image)
    return run


def save(run, options):
    if options.json:
        results.save(run, options.json, [asdict(verdict) for verdict in figures.verdicts(run)])


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def main():
    options = arguments()
    if options.from_json:
        run = results.load(options.from_json)
    else:
        if os.geteuid() != 0:
            sys.exit("compare.py: mounting overlayfs and dropping caches needs root")
        signal.signal(signal.SIGTERM, interrupted)  # leaves as little behind as Ctrl-C does
        peers.raise_file_limit()
        run = measured(options)
    print("\n".join(report.whole(run, options.base)))
    save(run, options)
    if options.markdown:
        page.write(run, options.base, options.markdown)
    if any(" failed at " in note and note.startswith(tuple(run.servers)) for note in run.notes):
        sys.exit("compare.py: a stratafs failed; see the notes")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("compare.py: interrupted")
