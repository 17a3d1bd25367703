"""A stratad on a store of its own, above one that is only read: on erofs, where the kernel has it.

Needs STRATA_BIN_DIR, root, and mkfs.erofs for the first. With STRATA_TEST_NFS, where the directory for
temporary files is to be seen over NFS, the other store is there.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import PATIENCE, RUN, STRATA, STRATAD, Daemon, strata
from scripted_registry import Image, Registry

NFS = os.environ.get("STRATA_TEST_NFS")


def kernel_has(filesystem):
    with open("/proc/filesystems", encoding="utf-8") as names:
        return filesystem in names.read().split()


class Below:
    """The data root of a daemon that is no more, with the images below:1 and PULLED, read-only."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="strata-below.")
        self.root = os.path.join(self.work, "store")
        os.mkdir(self.root)
        daemon = Daemon()
        # Not the image that the daemon above has of its own.
        with open(os.path.join(daemon.work, "tree/data/below"), "w", encoding="utf-8") as file:
            file.write("below\n")
        archive = os.path.join(daemon.work, "below.tar")
        subprocess.run(["tar", "-C", os.path.join(daemon.work, "tree"), "-cf", archive, "."], check=True)
        strata("image", "import", "-q", archive, "below:1")
        strata("pull", "-q", PULLED)
        strata("rmi", "box")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.wait(PATIENCE)
        self.mount(f"{daemon.work}/data")
        daemon.start()
        daemon.stop()

    def mount(self, data):
        if NFS:
            # Moved, for the indexes of a copy are of other directories.
            exported = os.path.join(self.work, "exported")
            os.rename(data, exported)
            self.root = NFS + exported.removeprefix(tempfile.gettempdir())
            return
        if kernel_has("erofs") and shutil.which("mkfs.erofs"):
            image = os.path.join(self.work, "store.erofs")
            subprocess.run(["mkfs.erofs", "--quiet", "--preserve-mtime", "-Eforce-inode-extended",
                            image, data], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["mount", "-o", "loop,ro", image, self.root], check=True)
            return
        copy = os.path.join(self.work, "copy")
        subprocess.run(["cp", "-a", data, copy], check=True)
        subprocess.run(["mount", "--bind", copy, self.root], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.root], check=True)

    def remove(self):
        if not NFS:
            subprocess.run(["umount", self.root], check=True)
        shutil.rmtree(self.work)


def setUpModule():
    global BELOW, DAEMON, PULLED, REGISTRY
    REGISTRY = Registry()
    unittest.addModuleCleanup(REGISTRY.close)
    PULLED = f"{REGISTRY.address}/pulled:1"
    BELOW = Below()
    unittest.addModuleCleanup(BELOW.remove)
    DAEMON = Daemon("--additional-store", BELOW.root)
    unittest.addModuleCleanup(DAEMON.stop)


def own_layers():
    return len(os.listdir(f"{DAEMON.work}/data/layers/sha256"))


def fsck(check=0):
    return strata("store", "fsck", "--data-root", f"{DAEMON.work}/data", "--deep", check=check)


class AdditionalStoreTest(unittest.TestCase):
    def test_its_images_serve_as_the_own_ones(self):
        self.assertIn("below", strata("images"))
        self.assertIn("box", strata("images"))
        self.assertEqual(json.loads(strata("inspect", "below:1"))[0]["RepoTags"], ["below:1"])
        layers = own_layers()
        self.assertEqual(strata(*RUN, "--rm", "below:1", "cat", "/data/seed"), "seed")
        strata("run", "-d", "--network", "none", "--name", "stays", "below:1", "sleep", "1000")
        self.assertEqual(strata("exec", "stays", "cat", "/data/seed"), "seed")
        # As after a crash of the daemon.
        DAEMON.crash()
        self.assertEqual(strata("exec", "stays", "cat", "/data/seed"), "seed")
        strata("rm", "-f", "stays")
        self.assertEqual(own_layers(), layers)
        fsck()

    def test_what_is_made_of_it_refers_to_it(self):
        strata("tag", "below:1", "mine:1")
        strata("run", "--network", "none", "--name", "changed", "below:1", "touch", "/added")
        strata("commit", "changed", "child")
        strata("rm", "changed")
        before = own_layers()
        archive = os.path.join(DAEMON.work, "saved.tar")
        strata("save", "-o", archive, "mine:1")
        strata("rmi", "mine:1")
        self.assertIn("below", strata("images"))
        strata("load", "-i", archive)
        self.assertEqual(own_layers(), before)
        self.assertIn("added", strata(*RUN, "--rm", "child", "ls", "/"))
        strata("store", "gc")
        self.assertIn("added", strata(*RUN, "--rm", "child", "ls", "/"))
        fsck()
        strata("rmi", "child", "mine:1")
        fsck()

    def test_a_pull_fetches_only_what_is_nowhere(self):
        first, = REGISTRY.image.layer_digests
        self.assertIn(first, REGISTRY.blobs_asked_for)
        REGISTRY.image = Image("file", "above")
        self.assertEqual(REGISTRY.image.layer_digests[0], first)
        REGISTRY.blobs_asked_for.clear()
        before = own_layers()
        strata("pull", "-q", PULLED)
        self.assertNotIn(first, REGISTRY.blobs_asked_for)
        self.assertIn(REGISTRY.image.layer_digest, REGISTRY.blobs_asked_for)
        self.assertEqual(own_layers(), before + 1)
        archive = os.path.join(DAEMON.work, "pulled.tar")
        strata("save", "-o", archive, PULLED)  # with the blob that is below
        fsck()
        strata("rmi", PULLED)
        self.assertIn("pulled", strata("images"), "the tag below shows again")
        fsck()

    def test_without_it_what_is_missing_is_told(self):
        strata("create", "--network", "none", "--name", "needs", "below:1", "/none")
        strata("commit", "needs", "needs:1")
        strata("rm", "needs")
        DAEMON.process.terminate()
        DAEMON.process.wait(PATIENCE)
        command = DAEMON.command
        DAEMON.command = command[:command.index("--additional-store")]
        DAEMON.start()
        try:
            done = subprocess.run([STRATA, *RUN, "needs:1", "true"], capture_output=True, text=True,
                                  check=False, timeout=PATIENCE)
        finally:
            strata("rm", *strata("ps", "-aq").split())
            DAEMON.process.terminate()
            DAEMON.process.wait(PATIENCE)
            DAEMON.command = command
            DAEMON.start()
        self.assertEqual(done.returncode, 125, done.stderr)
        for part in ("image needs:1", "sha256:", f"additional store {BELOW.root}", "strata store fsck"):
            self.assertIn(part, done.stderr)
        strata("store", "fsck", "--data-root", f"{DAEMON.work}/data", "--additional-store", BELOW.root)
        strata("rmi", "needs:1")

    def test_its_images_can_not_be_removed(self):
        with self.assertRaisesRegex(AssertionError, f"additional store {BELOW.root}"):
            strata("rmi", "-f", "below:1")

    def test_a_missing_one_is_one_clear_error(self):
        missing = os.path.join(DAEMON.work, "missing")
        for make in (lambda: None, lambda: os.mkdir(missing)):
            make()
            with tempfile.TemporaryDirectory(prefix="strata-below.") as other:
                done = subprocess.run([STRATAD, "--data-root", f"{other}/data", "--run-root",
                                       f"{other}/run", "--additional-store", missing],
                                      capture_output=True, text=True, check=False, timeout=PATIENCE)
            self.assertNotEqual(done.returncode, 0)
            errors = [line for line in done.stderr.splitlines() if "additional store" in line]
            self.assertEqual(len(errors), 1, done.stderr)
            self.assertIn(missing, errors[0])


if __name__ == "__main__":
    unittest.main()
