"""A stratad of its own for a test, and the client beside it. Needs STRATA_BIN_DIR."""

import os
import shutil
import signal
import subprocess
import tempfile
import time

BIN = os.environ["STRATA_BIN_DIR"]
STRATA = os.path.join(BIN, "strata")
STRATAD = os.path.join(BIN, "stratad")
PATIENCE = 60  # seconds until a thing that has not happened counts as never happening
TOOLS = ("sh", "cat", "echo", "ls", "sleep", "true", "stty", "touch")
RUN = ("run", "--network", "none")

# A runtime whose `delete` waits until the file GATE is there.
SLOW_RUNTIME = """#!/bin/sh
for word in "$@"; do
  [ "$word" != delete ] || while [ ! -e "{gate}" ]; do sleep 0.1; done
done
exec {runc} "$@"
"""


def strata(*words, check=0, **options):
    """Output of a client command that must end with the status `check`."""
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    done = subprocess.run([STRATA, *words], text=True, capture_output=True, timeout=PATIENCE,
                          check=False, **options)
    if done.returncode != check:
        raise AssertionError(f"strata {words}: {done.returncode}, not {check}: {done.stderr}")
    return done.stdout.strip()


def until(holds, what):
    """Waits until `holds()`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.05)


class Daemon:
    """A stratad with a root of its own, and the image "box". `roots`: where its directories are to be."""

    def __init__(self, *options, socket=None, roots=None):
        self.work = tempfile.mkdtemp(prefix="strata-cli.")
        self.gate = os.path.join(self.work, "gate")
        runtime = os.path.join(self.work, "runtime.sh")
        with open(runtime, "w", encoding="utf-8") as script:
            script.write(SLOW_RUNTIME.format(gate=self.gate, runc=shutil.which("runc")))
        os.chmod(runtime, 0o755)
        self.open_gate()
        roots = roots or self.work
        os.environ["STRATA_HOST"] = "unix://" + (socket or f"{roots}/run/strata.sock")
        self.command = [STRATAD, "--data-root", f"{roots}/data", "--run-root", f"{roots}/run",
                        "--host", os.environ["STRATA_HOST"], "--runtime", runtime, *options]
        self.start()
        self.import_box()

    def start(self):
        with open(os.path.join(self.work, "log"), "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        until(self.answers, "stratad answers")

    def crash(self):
        """Ends the daemon without a chance to tidy up, and starts it again."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.start()

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("stratad ended: " + self.log())
        return subprocess.run([STRATA, "version"], capture_output=True, check=False).returncode == 0

    def log(self):
        with open(os.path.join(self.work, "log"), encoding="utf-8") as log:
            return log.read()

    def import_box(self):
        tree = os.path.join(self.work, "tree")
        os.makedirs(os.path.join(tree, "bin"))
        os.makedirs(os.path.join(tree, "data"))
        with open(os.path.join(tree, "data/seed"), "w", encoding="utf-8") as seed:
            seed.write("seed\n")
        shutil.copy(shutil.which("busybox"), os.path.join(tree, "bin/busybox"))
        for tool in TOOLS:
            os.symlink("busybox", os.path.join(tree, "bin", tool))
        self.archive = os.path.join(self.work, "box.tar")
        subprocess.run(["tar", "-C", tree, "-cf", self.archive, "."], check=True)
        strata("image", "import", "-q", self.archive, "box")

    def open_gate(self):
        with open(self.gate, "w", encoding="utf-8"):
            pass

    def close_gate(self):
        os.unlink(self.gate)

    def stop(self):
        if not os.path.exists(self.gate):
            self.open_gate()
        left = strata("ps", "-aq").split()
        if left:
            strata("rm", "-f", *left)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            remaining = [line for line in mounts if f" {self.work}/" in line]
        for line in remaining:
            subprocess.run(["umount", "-l", line.split()[4]], check=True)
        shutil.rmtree(self.work)
        if remaining:
            raise AssertionError(f"mounts remained: {remaining}")
