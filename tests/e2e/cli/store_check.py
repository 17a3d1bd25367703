"""`strata store`: what gc tells and takes, what fsck finds and mends, with a daemon and without.

The client against its own stratad, and a registry on loopback. Needs STRATA_BIN_DIR.
"""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import unittest

from harness import STRATA, Daemon, strata, until
from scripted_registry import Registry


def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)
    # Compressed, so that the store keeps what it came from.
    subprocess.run(["gzip", "-k", DAEMON.archive], check=True)
    strata("rmi", "box")
    strata("image", "import", "-q", f"{DAEMON.archive}.gz", "box")


def fsck(*options, check=0):
    return strata("store", "fsck", "--data-root", f"{DAEMON.work}/data", *options, check=check)


def findings(*options, check=0):
    return [json.loads(line) for line in fsck("--format", "json", *options, check=check).splitlines()]


def layer_files(path):
    """The files of that path in all layers."""
    layers = f"{DAEMON.work}/data/layers/sha256"
    return [os.path.join(layers, layer, "fs", path) for layer in os.listdir(layers)
            if os.path.lexists(os.path.join(layers, layer, "fs", path))]


def layer_file(path):
    """The one file of that path in any layer."""
    [found] = layer_files(path)
    return found


def rot(path):
    """Other bytes, the same attributes."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"ROT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


class StoreTest(unittest.TestCase):
    def tearDown(self):
        self.assertEqual(findings("--deep"), [])

    def test_bit_rot_is_found_and_mended(self):
        path = layer_file("data/seed")
        rot(path)
        self.assertEqual(findings(), [])
        [finding] = findings("--deep", check=1)
        self.assertEqual((finding["kind"], finding["path"]), ("content", "data/seed"))
        self.assertIn(path.split("/")[-4], finding["layer"])
        self.assertIn(": 1 problem\n", fsck("--deep", check=1) + "\n")
        self.assertIn("mended", fsck("--deep", "--repair"))
        with open(layer_file("data/seed"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "seed\n")

    def test_what_runs_on_a_layer_goes_on_while_it_is_mended(self):
        strata("run", "-d", "--name", "runs", "--network", "none", "box", "sleep", "1000")
        self.addCleanup(strata, "rm", "-f", "runs")
        path = layer_file("data/seed")
        rot(path)
        os.chmod(os.path.dirname(path), 0o700)
        self.assertIn("mended", fsck("--deep", "--repair"))
        self.assertEqual(strata("exec", "runs", "cat", "/data/seed"), "seed")
        # Nothing of these was read before.
        self.assertIn("busybox", strata("exec", "runs", "ls", "/bin"))
        strata("exec", "runs", "sh", "-c", "echo more >> /data/seed")
        self.assertEqual(strata("exec", "runs", "cat", "/data/seed").split(), ["seed", "more"])

    def test_a_plain_layer_is_its_own_only_copy(self):
        tar = os.path.join(DAEMON.work, "plain.tar")
        with tarfile.open(tar, "w") as archive:
            content = tarfile.TarInfo("plain")
            content.size = 5
            archive.addfile(content, io.BytesIO(b"plain"))
        strata("image", "import", "-q", tar, "plain")
        self.assertEqual(findings("--deep"), [])
        rot(layer_file("plain"))
        # Nothing else has its bytes: what there is of it is kept.
        self.assertIn("quarantine/", fsck("--deep", "--repair", check=1))
        strata("image", "import", "-q", tar, "plain")
        with open(layer_file("plain"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "plain")
        strata("rmi", "plain")
        shutil.rmtree(f"{DAEMON.work}/data/quarantine")

    def test_attributes_are_found_without_a_daemon(self):
        DAEMON.process.terminate()
        DAEMON.process.wait()
        try:
            os.chmod(layer_file("data/seed"), 0o777)
            [finding] = findings(check=1)
            self.assertEqual((finding["kind"], finding["path"]), ("wrong-mode", "data/seed"))
            fsck("--repair")
        finally:
            DAEMON.start()
        self.assertEqual(strata("run", "--rm", "box", "cat", "/data/seed"), "seed")

    def test_scrub_reads_everything_and_tells_what_is_damaged(self):
        self.assertIn("Damaged:  0", strata("store", "scrub", "--rate", "0"))
        path = layer_file("data/seed")
        rot(path)
        told = strata("store", "scrub", "--rate", "0", check=1)
        self.assertIn("Damaged:  1", told)
        self.assertIn("'data/seed': content", told)
        self.assertIn("scrub found damage", DAEMON.log())
        status = json.loads(strata("store", "scrub", "--status", "--format", "json", check=1))
        self.assertEqual((status["State"], status["Damaged"]), ("finished", 1))
        [found] = status["Findings"]
        self.assertIn(found.pop("text"), told)
        self.assertEqual([found], findings("--deep", check=1))
        fsck("--deep", "--repair")
        # Slow enough to be met; cut off by a crash, it goes on.
        strata("store", "scrub", "--detach", "--rate", "1k")
        self.assertRegex(strata("store", "scrub", "--status"), r"Layers: +0 of [1-9]")
        until(lambda: json.loads(strata("store", "scrub", "--status", "--format", "json"))["BytesRead"], "a scrub reads")
        DAEMON.process.terminate()
        DAEMON.process.wait()
        DAEMON.start()
        status = json.loads(strata("store", "scrub", "--status", "--format", "json"))
        self.assertEqual((status["State"], status["BytesPerSecond"]), ("running", 1024))
        self.assertGreater(status["BytesRead"], 0)
        DAEMON.crash()
        self.assertIn("running", strata("store", "scrub", "--status"))
        refused = subprocess.run([STRATA, "store", "scrub"], capture_output=True, text=True, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("a scrub is running already; see 'strata store scrub --status'", refused.stderr)
        strata("store", "scrub", "--stop")
        until(lambda: "stopped" in strata("store", "scrub", "--status"), "the scrub stops")

    def test_a_lost_layer_is_pulled_again(self):
        registry = Registry()
        self.addCleanup(registry.close)
        name = f"{registry.address}/image:1"
        strata("pull", "-q", name)
        layer = layer_file("file")
        shutil.rmtree(os.path.dirname(os.path.dirname(layer)))
        blob = registry.image.layer_digest.removeprefix("sha256:")
        os.unlink(f"{DAEMON.work}/data/blobs/sha256/{blob}")
        kinds = {finding["kind"] for finding in findings(check=1)}
        # What only the layer had is left among the objects.
        self.assertEqual(kinds, {"missing-layer", "missing-blob", "garbage"})
        told = fsck("--repair", "--insecure-registry", registry.address)
        self.assertIn("fetched again", told)
        with open(layer_file("file"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "content")
        strata("rmi", name)

    def test_df_tells_what_is_stored_once(self):
        content = os.urandom(1 << 20)
        for name in ("one", "two"):
            tar = os.path.join(DAEMON.work, f"{name}.tar")
            with tarfile.open(tar, "w") as archive:
                for path, data in (("shared", content), (name, name.encode())):
                    member = tarfile.TarInfo(path)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
            strata("image", "import", "-q", tar, name)
        one, two = (os.stat(path) for path in layer_files("shared"))
        self.assertEqual(one.st_ino, two.st_ino)

        def stored_once():
            return re.search(r"\n(Layers: .*), (\S+) of it stored once", strata("system", "df"))[2]

        self.assertEqual(stored_once(), "1.05MB")
        strata("rmi", "one")
        until(lambda: stored_once() == "0B", "the sums follow")
        self.assertEqual(findings("--deep"), [])
        strata("rmi", "two")

    def test_gc_tells_before_it_takes(self):
        strata("tag", "box", "other:1")
        told = strata("store", "gc", "--all", "--dry-run")
        self.assertIn("Untagged: other:1", told)
        self.assertEqual(strata("run", "--rm", "other:1", "cat", "/data/seed"), "seed")
        self.assertNotIn("Untagged", strata("store", "gc", "--all", "--unused-for", "1h", "-f"))
        strata("store", "gc")
        strata("rmi", "other:1")
        strata("images", "-q", "box")

    def test_gc_says_what_it_leaves(self):
        def gc(*words, **options):
            return subprocess.run([STRATA, "store", "gc", *words], capture_output=True, text=True,
                                  check=False, **options)

        self.assertRegex(gc("--keep", "1k", "-f").stderr,
                         r"^strata: the store still takes \S+B; images that have names go only with --all\n$")
        strata("create", "--network", "none", "--name", "user", "box", "/none")
        left = gc("--keep", "1k", "--all", "-f")
        strata("rm", "user")
        self.assertEqual(left.returncode, 0)
        self.assertIn("what is left is in use\n", left.stderr)
        self.assertEqual(gc("--keep", "1g", "-f").stderr, "")
        for span in ("3d", "3d12h", "72h"):
            self.assertEqual(gc("--unused-for", span, "-f", "--all").returncode, 0, span)
        strata("images", "-q", "box")
        refused = gc("--unused-for", "30", "-f", "--all")
        self.assertEqual(refused.returncode, 125)
        self.assertIn("a span of time needs a unit", refused.stderr)
        for words, asked in (((), "images without a name that no container uses"),
                             (("--all",), "images that no container uses")):
            told = gc("--untagged", *words, input="n\n")
            self.assertEqual(told.returncode, 1)
            self.assertIn(f"removes {asked}", told.stderr)

    def test_says_what_is_wrong_with_a_scrub(self):
        for words in (["--status", "--stop"], ["--format", "json"], ["--stop", "--format", "json"],
                      ["--status", "--rate", "1m"]):
            done = subprocess.run([STRATA, "store", "scrub", *words], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 125, words)

    def test_says_what_is_wrong_with_the_command(self):
        for words in (["--deep", "--quick"], ["--format", "yaml"], ["--data-root", "/nowhere/at/all"]):
            done = subprocess.run([STRATA, "store", "fsck", *words], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 125, words)
            self.assertEqual(len(done.stderr.strip().splitlines()[0:1]), 1)
        self.assertIn("/nowhere/at/all", done.stderr)


if __name__ == "__main__":
    unittest.main()
