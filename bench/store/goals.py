"""The figures that the store has to reach, and whether a run shows that it does."""

from collections.abc import Callable
from dataclasses import dataclass

from results import Key


@dataclass(frozen=True)
class Goal:
    """`measure` gives the value from a run's results, None if it was not measured; at most `limit`."""

    what: str
    wanted: str
    limit: float
    measure: Callable
    unit: str = "times"


def time_of(results, workload, who):
    return results.value(Key(workload, "time", "s"), who)


def faster(workload, who, peer):
    return lambda results: median(results.ratio(Key(workload, "time", "s"), who, peer))


def median(spread):
    return spread and spread.median


def value(workload, metric, unit):
    return lambda results: median(results.value(Key(workload, metric, unit), "strata"))


def pipeline(results):
    """Of the whole import to the longest of its stages alone."""
    stages = [results.value(Key("stages", stage, "s"), "strata") for stage in ("decompress", "hash", "unpack")]
    whole = time_of(results, "debian layer", "strata")
    if whole is None or None in stages:
        return None
    return whole.median / max(stage.median for stage in stages)


def index_share(results):
    index, whole = results.value(Key("stages", "index", "s"), "strata"), time_of(results, "debian layer", "strata")
    return None if index is None or whole is None else index.median / whole.median


def peak(results):
    found = [results.value(key, who) for key in results.keys() if key.metric == "peak memory"
             for who in ("strata", "strata, archive")]
    return max((spread.most for spread in found if spread), default=None)


def again(results):
    first, second = (Key("90 % there", f"time of {which}", "s") for which in ("the first image", "the second"))
    return median(results.ratio(second, "strata", "strata", first))


def goals(scale):
    layers, tiny = f"{scale.layers} small layers", f"{scale.tiny} tiny files"
    debian = "debian layer"
    found = [Goal(debian, "≤ 1.25 × tar -x (≥ 0.8 × its MB/s)", 1.25, faster(debian, "strata", "tar -x")),
             Goal(debian, "≤ 0.5 × umoci", 0.5, faster(debian, "strata", "umoci")),
             Goal(debian, "≤ 0.5 × podman load", 0.5, faster(debian, "strata, archive", "podman load"))]
    found += [Goal(workload, "≤ 1 × podman load", 1, faster(workload, "strata, archive", "podman load"))
              for workload in (layers, "one large layer", tiny)]
    return found + [
        Goal("decompress, hash, unpack at once", "≤ 1.3 × the slowest alone", 1.3, pipeline),
        Goal("peak memory of an import", "≤ 64 MiB", 64, peak, "MiB"),
        Goal("import, 90 % of the files there", "≤ 0.5 × the first time", 0.5, again),
        Goal("growth of the disk by that, layers", "≤ 12 %", 0.12,
             value("90 % there", "growth of the disk, layers", "of the first"), "of the first"),
        Goal("index of a layer", "≤ 5 % of the unpacking", 0.05, index_share, "of the unpacking"),
        Goal(f"gc of {scale.store_layers} layers, one live", "≤ 2 s", 2, value("upkeep", "gc, one layer live", "s"), "s"),
        Goal(f"fsck of {scale.store_layers} layers, not deep", "≤ 5 s", 5, value("upkeep", "fsck, not deep", "s"), "s"),
        Goal(f"commit of 10 changed files of {scale.container_files}", "≤ 50 ms", 50,
             value("commit", "10 changed files", "ms"), "ms")]
