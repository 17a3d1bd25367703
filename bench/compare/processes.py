"""Runs the programs of a workload; whatever happens, they and their children are gone afterwards."""

import contextlib
import os
import signal
import subprocess


class Failed(Exception):
    """A program of a workload ended with an error."""


def run(command, cwd=None, environment=None):
    """Runs it to its end and gives its output."""
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(environment or {})}, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        output, errors = process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        last = (errors.strip() or output.strip() or "no output").splitlines()[-1]
        raise Failed(f"{command[0]} failed ({process.returncode}): {last}")
    return output
