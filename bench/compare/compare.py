#!/usr/bin/env python3
"""Measures stratafs beside its peers: the same trees, interleaved rounds, ratios with spread.

Run as root: bench/compare/compare.py --stratafs build/release/bin/stratafs
"""

import argparse
import os
import shutil
import sys
import tempfile

import containers
import disk
import report
from peers import PEERS, TRANSPORTS, Strata
from trees import Tree
from workloads import WORKLOADS, metadata


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stratafs", default="stratafs", help="the program to measure")
    parser.add_argument("--options", default="", help="more -o options for stratafs")
    parser.add_argument("--transport", default=",".join(TRANSPORTS),
                        help="what stratafs is measured over: dev, uring or both (the default)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help="which, separated by commas")
    parser.add_argument("--workloads", default="", help="only those whose name contains this")
    parser.add_argument("--base", default="overlayfs", help="what the ratios are relative to")
    parser.add_argument("--scratch", default=tempfile.gettempdir(),
                        help="a directory on a real disk; an ext4 image is made there")
    parser.add_argument("--in-place", action="store_true",
                        help="measure on the filesystem of --scratch itself instead")
    parser.add_argument("--json", help="write all values to this file")
    parser.add_argument("--strata", default="strata", help="the client, for --image")
    parser.add_argument("--image", help="an image both strata and podman have: times `run`, too")
    options = parser.parse_args()
    for name in options.transport.split(","):
        if name not in TRANSPORTS:
            parser.error(f"--transport: '{name}' is none of {', '.join(TRANSPORTS)}")
    return options


def usable_peers(names, notes):
    peers = []
    for name in names:
        why_not = PEERS[name].missing()
        if why_not:
            notes.append(f"{name}: skipped, {why_not}")
        else:
            peers.append(name)
    return peers


def measure(options, scratch, peers, results):
    workloads = [entry for entry in WORKLOADS if options.workloads in entry[0]]
    for label, count, workload in workloads:
        tree = Tree(scratch / f"layers{label.replace(' ', '-')}", count).build(workload is not metadata)
        for number in range(options.rounds):
            turn = number % len(peers)
            for name in peers[turn:] + peers[:turn]:
                peer = PEERS[name](scratch / name)
                mount = peer.mount(tree)
                try:
                    for metric, unit, value in workload(str(mount), tree):
                        key = (label, metric, unit)
                        results.setdefault(key, {}).setdefault(name, []).append(value)
                finally:
                    peer.unmount()
            print(f"{label}: round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        shutil.rmtree(tree.layers[0].parent)


def measure_containers(options, results, notes):
    if not options.image:
        notes.append("run of /bin/true: skipped, no --image given")
        return []
    usable, why_not = containers.commands(options.strata, options.image)
    notes += why_not
    for _ in range(options.rounds * 2):
        for name, command in usable.items():
            key = ("containers", "run --rm --network none IMAGE /bin/true", "ms")
            results.setdefault(key, {}).setdefault(name, []).append(containers.run(command))
    return list(usable)


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("compare.py: mounting overlayfs and dropping caches needs root")
    Strata.program = shutil.which(options.stratafs) or options.stratafs
    Strata.options = options.options
    results, notes = {}, []
    unwanted = set(TRANSPORTS.values()) - {TRANSPORTS[name] for name in options.transport.split(",")}
    names = [name for name in options.peers.split(",") if name not in unwanted]
    peers = usable_peers(names, notes)
    with (disk.in_place if options.in_place else disk.ext4)(options.scratch) as scratch:
        measure(options, scratch, peers, results)
    print(report.table(results, peers, options.base))
    runs = {}
    ran = measure_containers(options, runs, notes)
    if runs:
        print(report.table(runs, ran, "podman"))
    for note in notes:
        print("note:", note)
    if options.json:
        report.dump(options.json, {**results, **runs}, notes)


if __name__ == "__main__":
    main()
