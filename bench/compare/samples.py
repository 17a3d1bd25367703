"""What a workload is, and what it gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from peers import Mount, Peer, Strata
from trees import Stack


class Sample(NamedTuple):
    """One measured value; the smaller, the better. `point` is where on its curve it lies, if it is of one."""

    metric: str
    unit: str
    value: float
    point: str = ""


def any_peer(_peer: Peer):
    return True


def strata_only(peer: Peer):
    return isinstance(peer, Strata)


@dataclass(frozen=True)
class Workload:
    """`build` makes the stack below a directory, `run` measures it mounted."""

    name: str
    build: Callable[[Path], Stack]
    run: Callable[[Mount], Iterator[Sample]]
    point: str = ""  # of samples that name none
    rounds: int | None = None  # where fewer than asked for are enough
    suits: Callable[[Peer], bool] = any_peer
    needs: tuple = ()  # programs that it runs


def human(size):
    """4096 as 4 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size} {unit}"
        size //= 1024
