"""What the client tells of images and takes for one: sizes, names, platforms, use, what is missing.

The client against its own stratad. Needs STRATA_BIN_DIR.
"""

import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
import unittest

from harness import PATIENCE, RUN, STRATA, Daemon, strata

KILO = 1000


def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)


def attempt(*words, **options):
    """Status and what is said on standard error."""
    done = subprocess.run([STRATA, *words], text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE, **options)
    return done.returncode, done.stderr


def api(path, body=None):
    """The daemon's answer, as JSON; of a POST, with a body."""
    connection = http.client.HTTPConnection("strata", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["STRATA_HOST"].removeprefix("unix://"))
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise AssertionError(f"{path}: {answer.status} {content}")
    return json.loads(content)


class ImagesTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="strata-images.")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def tearDown(self):
        left = strata("ps", "-aq").split()
        if left:
            strata("rm", "-f", *left)
        strata("store", "gc", "--untagged", "--force")

    def keep(self, name, image="box"):
        strata(*RUN, "-d", "--name", name, image, "sleep", "1000")

    def image(self, name, size):
        """An image of one file of random bytes."""
        tar = os.path.join(self.directory, "image.tar")
        with tarfile.open(tar, "w") as archive:
            member = tarfile.TarInfo("file")
            member.size = size
            archive.addfile(member, io.BytesIO(os.urandom(size)))
        strata("import", "-q", tar, name)
        self.addCleanup(attempt, "rmi", "-f", name)

    def test_a_directory_is_a_layout_or_refused(self):
        for command in (("import",), ("image", "import"), ("load", "-i")):
            for missing in ("oci-layout", "index.json"):
                status, said = attempt(*command, self.directory)
                self.assertEqual(status, 1)
                self.assertIn(f"{self.directory} is no OCI image layout (there is no '{missing}'", said)
                self.assertIn(f"tar -C {self.directory} -c . | strata import - NAME", said)
                self.assertEqual(len(said.splitlines()), 1)
                with open(os.path.join(self.directory, "oci-layout"), "w", encoding="utf-8") as file:
                    file.write("{}")
            os.unlink(os.path.join(self.directory, "oci-layout"))
        layout = os.path.join(self.directory, "layout")
        strata("save", "--format", "oci-dir", "-o", layout, "box")
        os.symlink("layout", os.path.join(self.directory, "link"))
        box = strata("image", "inspect", "-f", "{{.Id}}", "box")
        self.assertEqual(strata("import", os.path.join(self.directory, "link"), "linked"), box)
        strata("rmi", "linked")

    def test_a_layout_with_a_bare_tag_gives_an_image_without_a_name(self):
        self.image("named", 10)
        layout = os.path.join(self.directory, "layout")
        strata("save", "--format", "oci-dir", "-o", layout, "named")
        index = os.path.join(layout, "index.json")
        with open(index, encoding="utf-8") as file:
            content = json.load(file)
        for manifest in content["manifests"]:
            manifest["annotations"] = {"org.opencontainers.image.ref.name": "t1"}
        with open(index, "w", encoding="utf-8") as file:
            json.dump(content, file)
        done = subprocess.run([STRATA, "import", layout], text=True, capture_output=True, check=True)
        identity = strata("image", "inspect", "-f", "{{.Id}}", "named")
        self.assertEqual(done.stdout.strip(), identity)
        self.assertIn(f"{identity.removeprefix('sha256:')[:12]} has no name", done.stderr)
        done = subprocess.run([STRATA, "import", layout, "given:2"], text=True, capture_output=True,
                              check=True)
        self.assertNotIn("no name", done.stderr)
        self.assertEqual(strata("image", "inspect", "-f", "{{.Id}}", "given:2"), identity)
        strata("rmi", "given:2")

    def test_history_has_the_size_of_each_layer(self):
        self.keep("changed")
        strata("exec", "changed", "sh", "-c", "echo 12345678 >/file")
        strata("commit", "-c", "ENV A=b", "changed", "changed:1")
        self.addCleanup(strata, "rmi", "changed:1")
        steps = api("/images/changed:1/history")
        box = json.loads(strata("image", "inspect", "box"))[0]["Size"]
        self.assertEqual([step["Size"] for step in steps], [9, box])
        sizes = strata("history", "--format", "{{.Size}}", "changed:1").split()
        self.assertEqual(sizes[0], "9B")
        self.assertNotEqual(sizes[1], "0B")
        strata("tag", "box", "empty:1")
        strata("rm", "-f", "changed")
        self.keep("unchanged", "empty:1")
        strata("commit", "unchanged", "empty:1")
        self.assertEqual([step["Size"] for step in api("/images/empty:1/history")], [0, box])
        strata("rm", "-f", "unchanged")
        strata("rmi", "empty:1")

    def test_containers_tell_their_size_with_their_image(self):
        box = json.loads(strata("image", "inspect", "box"))[0]["Size"]
        self.keep("sized")
        strata("exec", "sized", "sh", "-c", "echo 1234567 >/file")
        [listed] = api("/containers/json?size=1")
        inspected = api("/containers/sized/json?size=1")
        [used] = api("/system/df")["Containers"]
        for told in (listed, inspected, used):
            self.assertEqual((told["SizeRw"], told["SizeRootFs"]), (8, box + 8))
        self.assertNotIn("virtual 0B", strata("ps", "-s"))

    def test_df_tells_what_can_be_had_back(self):
        def reclaimable():
            line = next(line for line in strata("system", "df").splitlines() if line.startswith("Images"))
            return re.search(r"(\S+) \(\d+%\)", line)[1]

        before = api("/system/df")["Store"]["Unused"]
        self.image("unused", 3 * KILO)
        self.image("base", 5 * KILO)
        self.assertEqual(api("/system/df")["Store"]["Unused"] - before, 8 * KILO)
        # Two images of the same layer, of which one is in use: docker's formula takes it for unused.
        strata("create", "--network", "none", "--name", "user", "base", "/none")
        strata("create", "--network", "none", "--name", "box-user", "box", "/none")
        strata("commit", "-c", "ENV A=b", "user", "more")
        self.addCleanup(strata, "rmi", "more")
        self.assertEqual(api("/system/df")["Store"]["Unused"], 3 * KILO)
        self.assertEqual(reclaimable(), "3kB")
        strata("rmi", "unused")
        self.assertEqual(reclaimable(), "0B")

    def test_the_image_of_a_running_container_stays(self):
        self.image("solid", KILO)
        strata("tag", "box", "running:1")
        self.keep("runner", "running:1")
        strata("rmi", "-f", "running:1")  # a name of several
        strata("commit", "runner", "apart:1")
        strata("rm", "-f", "runner")
        self.keep("runner", "apart:1")
        identity = strata("image", "inspect", "-f", "{{.Id}}", "apart:1")
        for name in ("apart:1", identity):
            for state in ("run", "pause"):
                if state == "pause":
                    strata("pause", "runner")
                status, said = attempt("rmi", "-f", name)
                self.assertEqual(status, 1)
                self.assertIn("(cannot be forced) - image is being used by running container", said)
            strata("unpause", "runner")
        strata("commit", "runner", "again:1")
        strata("rmi", "again:1")
        strata("kill", "runner")
        strata("wait", "runner")
        self.assertIn("Deleted: " + identity, strata("rmi", "-f", "apart:1"))
        status, said = attempt("commit", "runner", "again:1")
        self.assertEqual(status, 1)
        self.assertIn("removed by force", said)
        strata("start", "runner")
        self.assertEqual(strata("exec", "runner", "cat", "/data/seed"), "seed")

    def test_a_foreign_platform_is_told(self):
        other = "linux/riscv64" if os.uname().machine != "riscv64" else "linux/arm64"
        strata("import", "-q", "--platform", other, DAEMON.archive, "foreign:1")
        self.addCleanup(strata, "rmi", "foreign:1")
        status, said = attempt(*RUN, "--rm", "foreign:1", "true")
        self.assertEqual(status, 0)
        self.assertRegex(said, rf"WARNING: The requested image's platform \({other}\) does not match "
                               r"the detected host platform \(linux/\S+\) and no specific platform was requested")
        self.assertEqual(attempt(*RUN, "--rm", "box", "true"), (0, ""))
        for query, warnings in (("", 1), ("?platform=" + other, 0)):
            made = api("/containers/create" + query, {"Image": "foreign:1", "Cmd": ["true"],
                                                      "HostConfig": {"NetworkMode": "none"}})
            self.assertEqual(len(made["Warnings"]), warnings)

    def test_diff_shows_what_the_container_did(self):
        self.keep("doer")
        strata("exec", "doer", "touch", "/a\nb\x1b[31m")
        self.assertEqual(strata("diff", "doer"), "A /a\\x0ab\\x1b[31m")
        strata("commit", "doer", "done:1")
        self.addCleanup(strata, "rmi", "done:1")
        archive = os.path.join(self.directory, "done.tar")
        strata("save", "--format", "docker-archive", "--compression", "none", "-o", archive, "done:1")
        with tarfile.open(archive) as saved:
            layers = json.load(saved.extractfile("manifest.json"))[0]["Layers"]
            with tarfile.open(fileobj=saved.extractfile(layers[-1])) as layer:
                names = {name.rstrip("/") for name in layer.getnames()}
        self.assertFalse(names & {"dev", "proc", "sys"}, names)

    def test_a_missing_layer_is_named_and_where_to_look(self):
        self.image("lost", KILO)
        strata("create", "--network", "none", "--name", "loser", "lost", "/none")
        layer = json.loads(strata("image", "inspect", "lost"))[0]["RootFS"]["Layers"][0]
        home = f"{DAEMON.work}/data/layers/sha256/{layer.removeprefix('sha256:')}"
        os.rename(home, os.path.join(self.directory, "layer"))
        try:
            for words in (("start", "loser"), ("diff", "loser"), ("image", "explore", "lost"),
                          ("mount", "lost", self.directory), ("save", "-o", f"{home}.tar", "lost"),
                          ("image", "convert", "--compression", "zstd", "lost")):
                status, said = attempt(*words)
                self.assertNotEqual(status, 0)
                self.assertEqual(len(said.splitlines()), 1, said)
                for part in ("image lost", layer, "strata store fsck"):
                    self.assertIn(part, said, words)
        finally:
            shutil.move(os.path.join(self.directory, "layer"), home)

    def test_errors_of_files_say_what_and_where(self):
        nowhere = os.path.join(self.directory, "none", "file")
        for words, said in ((("save", "-o", self.directory, "box"),
                             f"cannot write {self.directory}: Is a directory"),
                            (("save", "-o", nowhere, "box"),
                             f"cannot open {nowhere}: No such file or directory"),
                            (("load", "-i", nowhere),
                             f"cannot open {nowhere}: No such file or directory"),
                            (("run", "--env-file", self.directory, "box"),
                             f"cannot read {self.directory}: Is a directory")):
            status = 125 if words[0] == "run" else 1
            self.assertEqual(attempt(*words), (status, f"strata: {said}\n"))


if __name__ == "__main__":
    unittest.main()
