"""`strata run` of /bin/true beside podman's, if both and the image are there."""

import shutil
import subprocess
import time

PODMAN = ["podman", "--runtime", "runc", "run", "--rm", "--network", "none",
          "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1000:1000"]
STRATA = ["run", "--rm", "--network", "none"]


def commands(strata, image):
    """{peer: command} of those that work here, and a note for each that does not."""
    wanted = {"strata": [strata, *STRATA, image, "/bin/true"], "podman": [*PODMAN, image, "/bin/true"]}
    usable, notes = {}, []
    for name, command in wanted.items():
        if not shutil.which(command[0]):
            notes.append(f"{name} run: skipped, {command[0]} is not there")
            continue
        trial = subprocess.run(command, capture_output=True, text=True)
        if trial.returncode != 0:
            notes.append(f"{name} run: skipped, {trial.stderr.strip() or trial.returncode}")
            continue
        usable[name] = command
    return usable, notes


def run(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - start) * 1e3
