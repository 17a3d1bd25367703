"""The measured values of a run, their arithmetic, and their form in JSON."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

VERSION = 2


class Key(NamedTuple):
    """What was measured; `point` is where on its curve, or empty."""

    workload: str
    metric: str
    unit: str
    point: str = ""


class Spread(NamedTuple):
    median: float
    least: float
    most: float


def spread(values):
    return Spread(statistics.median(values), min(values), max(values))


class Results:
    """{Key: {peer: {round: value}}}, in the order in which they came."""

    def __init__(self):
        self.values = {}

    def add(self, key, peer, number, value):
        self.values.setdefault(key, {}).setdefault(peer, {})[number] = value

    def keys(self):
        return list(self.values)

    def value(self, key, peer):
        """The spread over the rounds; None if there is no value."""
        rounds = self.values.get(key, {}).get(peer)
        return spread(list(rounds.values())) if rounds else None

    def ratio(self, key, peer, base, base_key=None):
        """So many times that of `base`, round by round: what slows a round slows both sides of it."""
        ours = self.values.get(key, {}).get(peer, {})
        theirs = self.values.get(base_key or key, {}).get(base, {})
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return spread(ratios) if ratios else None


@dataclass
class Server:
    """What the figures ask of a stratafs peer."""

    transport: str
    through_index: bool
    passthrough: bool  # of large files: the kernel reads and writes them by itself


@dataclass
class Run:
    """All that a report tells."""

    machine: dict
    rounds: int
    peers: list
    servers: dict  # {name: Server}, of the peers that are a stratafs
    results: Results = field(default_factory=Results)
    notes: list = field(default_factory=list)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)


def save(run, path, figures):
    rows = [{**key._asdict(), "values": {peer: {str(n): value for n, value in rounds.items()}
                                         for peer, rounds in by_peer.items()}}
            for key, by_peer in run.results.values.items()]
    document = {"version": VERSION, "machine": run.machine, "rounds": run.rounds, "peers": run.peers,
                "servers": {name: asdict(server) for name, server in run.servers.items()}, "results": rows,
                "figures": figures, "notes": run.notes}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def load(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    if document.get("version") != VERSION:
        raise ValueError(f"{path} is not of version {VERSION}")
    run = Run(document["machine"], document["rounds"], document["peers"],
              {name: Server(**server) for name, server in document["servers"].items()}, notes=document["notes"])
    for row in document["results"]:
        key = Key(row["workload"], row["metric"], row["unit"], row["point"])
        for peer, rounds in row["values"].items():
            for number, value in rounds.items():
                run.results.add(key, peer, int(number), value)
    return run
