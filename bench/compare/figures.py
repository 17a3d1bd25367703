"""The figures that stratafs has to reach, and whether a run shows that it does."""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass

from results import Key

OVERLAY, FUSE, NATIVE = "overlayfs", "fuse-overlayfs", "native"
THROUGHPUT = 0.97


def every(_server):
    return True


def ad_hoc(server):
    return not server.through_index


def indexed(server):
    return server.through_index


def passing_through(server):
    return server.passthrough


def over(transport):
    return lambda server: server.transport == transport


@dataclass(frozen=True)
class Figure:
    """At most `limit`: of `unit`, which is the metric's own, or times that of the peer `base`, or of the point `base_point`."""

    workload: str
    metric: str  # a pattern
    limit: float
    base: str = ""
    point: str = ""
    base_point: str = ""
    applies: Callable = every
    unit: str = ""
    inverted: bool = False  # wanted as a throughput: at least 1/limit


def applications():
    for workload in ("untar", "git", "build", "install", "sqlite", "fio"):
        yield Figure(workload, "*", 1.15, OVERLAY)
        yield Figure(workload, "*", 0.5, FUSE)


def names():
    for metric in ("create", "rename", "unlink, upper"):
        yield Figure("changes", metric, 0.25, FUSE)
        yield Figure("changes", metric, 2.5, OVERLAY)


FIGURES = [
    Figure("layers", "cold walk+stat", 0.3, OVERLAY, "64", applies=ad_hoc),
    Figure("layers", "cold walk+stat", 0.15, OVERLAY, "64", applies=indexed),
    Figure("layers", "cold walk+stat", 1.2, point="500", base_point="1", applies=indexed),
    Figure("layers", "warm walk+stat", 0.8, OVERLAY, "64"),
    Figure("layers", "mount", 10, point="500", applies=indexed, unit="ms"),
    Figure("files", "mount", 10, point="10000", applies=indexed, unit="ms"),
    Figure("layers", "open+close, cached file", 0.2, FUSE, "64", applies=over("uring")),
    Figure("layers", "open+close, cached file", 0.35, FUSE, "64", applies=over("dev")),
    Figure("layers", "read all small files, warm", 2, OVERLAY, "64"),
    Figure("layers", "read all small files, warm", 0.25, FUSE, "64"),
    Figure("data", "*", 1 / THROUGHPUT, NATIVE, applies=passing_through, inverted=True),
    Figure("file size", "first 4 KiB write", 1, point="1 GiB", unit="ms"),
    Figure("file size", "first 4 KiB write", 1 / 300, OVERLAY, "1 GiB"),
    Figure("file size", "first 4 KiB write", 1, point="10 GiB", unit="ms"),
    *names(),
    Figure("changes", "append, copy-up", 1, OVERLAY),
    Figure("changes", "chmod*, copy-up", 1, OVERLAY),
    Figure("changes", "unlink, lower (whiteout)", 1, OVERLAY),
    *applications(),
    Figure("memory", "idle, proportional set size", 8, unit="MiB"),
    Figure("memory", "for each known node", 160, unit="B"),
    Figure("memory", "forgotten tree, own, to idle", 1.1, unit="times"),
]


@dataclass(frozen=True)
class Verdict:
    """One figure at one metric: what was wanted, and {peer: (measured, met)} for those that it is about."""

    what: str
    wanted: str
    measured: dict


def verdicts(run):
    """In the order of FIGURES; one that was not measured has no peers."""
    found = []
    for figure in FIGURES:
        keys = matching(figure, run.results.keys())
        found += [judge(figure, key, run) for key in keys]
        if not keys:
            found.append(Verdict(title(figure.workload, figure.metric, figure.point), wanted(figure), {}))
    return found


def matching(figure, keys):
    return [key for key in keys if key.workload == figure.workload and key.point == figure.point
            and fnmatch.fnmatchcase(key.metric, figure.metric)]


def judge(figure, key, run):
    measured = {}
    for name, server in run.servers.items():
        value = measure(figure, key, name, run.results) if figure.applies(server) else None
        if value is not None:
            measured[name] = (1 / value if figure.inverted else value, value <= figure.limit)
    return Verdict(title(key.workload, key.metric, key.point), wanted(figure), measured)


def measure(figure, key, name, results):
    if figure.base_point:
        spread = results.ratio(key, name, name, Key(key.workload, key.metric, key.unit, figure.base_point))
    elif figure.base:
        spread = results.ratio(key, name, figure.base)
    else:
        spread = results.value(key, name)
    return spread and spread.median


def title(workload, metric, point):
    return f"{workload} {point}: {metric}".replace(" :", ":")


def wanted(figure):
    if figure.inverted:
        return f"≥ {1 / figure.limit:.2f} × {figure.base}"
    limit = f"1/{1 / figure.limit:.0f}" if figure.limit < 0.1 else f"{figure.limit:g}"
    if figure.base_point:
        return f"≤ {limit} × {figure.workload} {figure.base_point}"
    if figure.base:
        return f"≤ {limit} × {figure.base}"
    return f"≤ {limit} {figure.unit}"
