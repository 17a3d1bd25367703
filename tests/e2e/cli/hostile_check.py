"""Hostile layers and archives through the daemon: it refuses them, says what and where, and lives on.

The tables are those of tests/hostile, written by hostile_cases. Needs STRATA_BIN_DIR and STRATA_HOSTILE_CASES.
"""

import os
import subprocess
import unittest

from harness import PATIENCE, STRATA, Daemon, strata

MEMORY_MOST = 96 << 20  # above what the daemon had: one import with all its buffers, and the allocator's


def setUpModule():
    global DAEMON, CANARY, CASES
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)
    CANARY = os.path.join(DAEMON.work, "canary")
    os.makedirs(os.path.join(CANARY, "directory"))
    with open(os.path.join(CANARY, "file"), "w", encoding="utf-8") as file:
        file.write("untouched")
    os.symlink("file", os.path.join(CANARY, "link"))
    CASES = os.path.join(DAEMON.work, "cases")
    os.mkdir(CASES)
    subprocess.run([os.environ["STRATA_HOSTILE_CASES"], CASES, CANARY], check=True)


def cases(kind):
    with open(os.path.join(CASES, f"{kind}.tsv"), encoding="utf-8") as table:
        for line in table:
            name, says = line.rstrip("\n").split("\t")
            yield name, says, os.path.join(CASES, kind, name)


def canary():
    """Everything of it that would show a change."""
    seen = []
    for folder, folders, files in os.walk(CANARY):
        for name in [".", *folders, *files]:
            status = os.lstat(os.path.join(folder, name))
            seen.append((folder, name, status.st_ino, status.st_ctime_ns, status.st_mode,
                         status.st_nlink))
    return sorted(seen), sorted(os.listdir(DAEMON.work))


def memory(field):
    with open(f"/proc/{DAEMON.process.pid}/status", encoding="utf-8") as status:
        [kibibytes] = [line.split()[1] for line in status if line.startswith(field + ":")]
    return int(kibibytes) << 10


class HostileTest(unittest.TestCase):
    def setUp(self):
        self.canary = canary()
        self.images = strata("images", "-aq", "--no-trunc")
        with open(f"/proc/{DAEMON.process.pid}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")
        self.memory = memory("VmRSS")

    def tearDown(self):
        self.assertLess(memory("VmHWM") - self.memory, MEMORY_MOST)
        self.assertEqual(canary(), self.canary)
        for path in ("/etc/strata-canary", "/evil", os.path.join(DAEMON.work, "evil")):
            self.assertFalse(os.path.lexists(path), path)
        strata("store", "gc")
        strata("store", "fsck", "--data-root", f"{DAEMON.work}/data", "--deep")

    def refused(self, name, says, *words):
        with self.subTest(name):
            done = subprocess.run([STRATA, *words], capture_output=True, timeout=PATIENCE,
                                  check=False, stdin=subprocess.DEVNULL)
            said = done.stderr.decode(errors="replace")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, said)
            self.assertNotIn("\x1b", said)
            self.assertIsNone(DAEMON.process.poll())

    def test_layers_are_refused_by_import(self):
        for name, says, path in cases("layers"):
            self.refused(name, says, "image", "import", "-q", path, "hostile:1")
        self.assertEqual(strata("images", "-aq", "--no-trunc"), self.images)

    def test_archives_are_refused_by_load(self):
        for name, says, path in cases("archives"):
            self.refused(name, says, "load", "-q", "-i", path)
        self.assertEqual(strata("images", "-aq", "--no-trunc"), self.images)

    def test_look_alikes_are_taken(self):
        for name, _, path in cases("good"):
            with self.subTest(name):
                strata("image", "import", "-q", path, "good:1")

    def test_limits_are_the_daemons(self):
        usual = list(DAEMON.command)
        DAEMON.command += ["--layer-limit", "entries=2", "--layer-limit=kept-bytes=1M"]
        DAEMON.crash()
        try:
            self.refused("entries", "the limit is entries=2 (stratad --layer-limit)",
                         "image", "import", "-q", DAEMON.archive, "many:1")
        finally:
            DAEMON.command = usual
            DAEMON.crash()
        self.memory = memory("VmRSS")

    def test_limits_that_are_none(self):
        for option, says in (("entries", "needs NAME=VALUE"), ("entries=0", "is no number for entries"),
                             ("entrys=5", "there are entries, total-bytes")):
            done = subprocess.run([*DAEMON.command, "--layer-limit", option], text=True,
                                  capture_output=True, timeout=PATIENCE, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr)

    def test_a_setting_that_is_none(self):
        done = subprocess.run([*DAEMON.command, "--verity", "some"], text=True, capture_output=True,
                              timeout=PATIENCE, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--verity is auto, all or off, not 'some'", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
