"""Registries that answer badly: `strata pull` says what went wrong, and the store is as before.

A scripted registry on loopback; the client against its own stratad. Needs STRATA_BIN_DIR.
"""

import os
import signal
import subprocess
import sys
import unittest

from harness import PATIENCE, STRATA, Daemon, strata
from scripted_registry import Image, Registry, digest

def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)


def stored():
    """What the store has: its images, and every file and directory below it but the database."""
    images = strata("images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return images.splitlines() + sorted(
        os.path.join(directory, name) for part in ("blobs", "layers", "chains", "tmp")
        for directory, _, files in os.walk(os.path.join(DAEMON.work, "data", part))
        for name in (".", *files))


class PullTest(unittest.TestCase):
    def setUp(self):
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.before = stored()

    def name(self, suffix=":1"):
        return f"{self.registry.address}/spoiled{suffix}"

    def assert_refused(self, *says, suffix=":1"):
        done = subprocess.run([STRATA, "pull", "-q", self.name(suffix)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for part in (self.name(suffix), *says):
            self.assertIn(part, done.stderr)
        self.assert_unchanged()

    def assert_unchanged(self):
        self.assertEqual(stored(), self.before)

    def test_a_good_one_is_pulled(self):
        self.assertEqual(strata("pull", "-q", self.name()), self.name())
        self.assertNotEqual(stored(), self.before)
        strata("rmi", "-f", self.name())
        self.assert_unchanged()

    def test_statuses(self):
        says = {401: "401 Unauthorized", 403: "403 Forbidden", 404: "not found",
                418: "418", 500: "500 Internal Server Error"}
        for status, words in says.items():
            with self.subTest(status=status):
                self.registry.status = status
                self.assert_refused(words, "SPOILED: as the test wants it")

    def test_answers_that_are_no_http(self):
        cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
        for raw in (b"", b"\x00\x7fELF\xff" * 64, cut_short):
            with self.subTest(raw=raw[:8]):
                self.registry.raw = raw
                self.assert_refused(self.registry.address)

    def test_a_manifest_that_is_also_an_index(self):
        self.registry.image.manifest["manifests"] = []
        self.assert_refused("manifest")

    def test_a_manifest_that_is_not_what_was_asked_for(self):
        wanted = digest(b"something else")
        self.assert_refused(wanted, suffix="@" + wanted)

    def test_a_layer_that_is_not_what_the_manifest_says(self):
        image = self.registry.image
        good = image.blobs[image.layer_digest]
        for blob in (good[:-1] + b"x", good[:-1], good + b"x", b"x" * len(good)):
            with self.subTest(blob=len(blob)):
                image.blobs[image.layer_digest] = blob
                self.registry.blobs_asked_for.clear()
                self.assert_refused(image.layer_digest)
                self.assertEqual(self.registry.blobs_asked_for.count(image.layer_digest), 1)

    def test_a_missing_layer(self):
        del self.registry.image.blobs[self.registry.image.layer_digest]
        self.assert_refused(self.registry.image.layer_digest, "404")

    def test_a_layer_that_escapes(self):
        for name in ("../../escaped", "/../escaped"):
            with self.subTest(name=name):
                self.registry.image = Image(name)
                self.assert_refused(self.registry.image.layer_digest)

    def test_a_slow_one_is_left_with_the_client(self):
        self.registry.dripping = True
        client = subprocess.Popen([STRATA, "pull", "-q", self.name()], stdin=subprocess.DEVNULL)
        self.assertTrue(self.registry.asked.wait(PATIENCE))
        client.send_signal(signal.SIGINT)
        self.assertNotEqual(client.wait(PATIENCE), 0)
        self.assertTrue(self.registry.left.wait(PATIENCE), "the daemon goes on without its client")
        self.assert_unchanged()

    def test_a_silent_one_is_given_up(self):
        self.registry.released.clear()
        self.assert_refused(self.registry.address)


if __name__ == "__main__":
    sys.exit(unittest.main())
