"""The rounds: every peer takes its turn in each, so that a machine that slows down slows all of them."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time

from peers import uring_setting_kept
from processes import Failed
from results import Key

TURN_TIMEOUT = 1800  # seconds for one peer on one workload: a hang is a result, too


def measure(run, workload, peers, scratch):
    """Adds what `workload` gives on `peers` to `run`."""
    absent = [program for program in workload.needs if not shutil.which(program)]
    if absent:
        run.note(f"{workload.name}: skipped, {' and '.join(absent)} not installed")
        return
    root = scratch / "stack"
    try:
        stack = workload.build(root)
        able = within_limits(run, [peer for peer in peers if workload.suits(peer)], stack)
        with uring_setting_kept():
            take_rounds(run, workload, able, stack, scratch)
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # faster than shutil by far, with a million files


def within_limits(run, peers, stack):
    able = []
    for peer in peers:
        if peer.max_layers and len(stack.layers) > peer.max_layers:
            run.note(f"{peer.name}: not with more than {peer.max_layers} lower layers: {peer.max_layers_reason}")
        else:
            able.append(peer)
    return able


def take_rounds(run, workload, peers, stack, scratch):
    rounds = min(run.rounds, workload.rounds or run.rounds)
    title = f"{workload.name} {workload.point}".strip()
    failed = set()
    for number in range(rounds):
        start = time.monotonic()
        turn = number % max(len(peers), 1)
        for peer in peers[turn:] + peers[:turn]:
            if peer.name in failed:
                continue
            try:
                take_turn(run, workload, peer, stack, scratch / peer.name, number)
            except (OSError, Failed, AssertionError) as error:
                failed.add(peer.name)
                run.note(f"{peer.name} failed at '{title}': {error}".replace(f"{scratch}/", ""))
        print(f"{title}: round {number + 1} of {rounds}, {time.monotonic() - start:.0f} s", file=sys.stderr,
              flush=True)


def take_turn(run, workload, peer, stack, scratch, number):
    with peer.mount(stack, scratch) as mount, alarm(TURN_TIMEOUT):
        for sample in workload.run(mount):
            key = Key(workload.name, sample.metric, sample.unit, sample.point or workload.point)
            run.results.add(key, peer.name, number, sample.value)


@contextlib.contextmanager
def alarm(seconds):
    """Ends what takes longer with a TimeoutError."""

    def ring(_number, _frame):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
