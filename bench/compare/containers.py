"""`strata run` of /bin/true beside podman's, if both and the image are there."""

import shutil
import subprocess

from processes import run as run_program
from results import Key
from timing import milliseconds

PODMAN = ["podman", "--runtime", "runc", "run", "--rm", "--network", "none",
          "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1000:1000"]
STRATA = ["run", "--rm", "--network", "none"]
RUNS_PER_ROUND = 2


def commands(run, strata, image):
    """{peer: command} of those that work here; a note for each that does not."""
    wanted = {"strata run": [strata, *STRATA, image, "/bin/true"], "podman run": [*PODMAN, image, "/bin/true"]}
    usable = {}
    for name, command in wanted.items():
        if not shutil.which(command[0]):
            run.note(f"{name}: skipped, {command[0]} is not there")
            continue
        trial = subprocess.run(command, capture_output=True, text=True)
        if trial.returncode != 0:
            run.note(f"{name}: skipped, {trial.stderr.strip() or trial.returncode}")
            continue
        usable[name] = command
    return usable


def measure(run, strata, image):
    usable = commands(run, strata, image)
    run.peers += usable
    key = Key("containers", "run --rm --network none IMAGE /bin/true", "ms")
    for number in range(run.rounds * RUNS_PER_ROUND):
        for name, command in usable.items():
            run.results.add(key, name, number, milliseconds(lambda: run_program(command)))
