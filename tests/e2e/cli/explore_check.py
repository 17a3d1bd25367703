"""`strata image explore`: what it tells of an image whose layers do everything layers do.

The client against its own stratad. Needs STRATA_BIN_DIR.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import unittest

from harness import STRATA, Daemon, strata

MTIME = 1_700_000_000


def tar_of(*members):
    """A tar of (name, content) and (name, content, mode); of None: a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, *mode in members:
            member = tarfile.TarInfo(name)
            member.mtime = MTIME
            member.mode = mode[0] if mode else 0o755 if content is None else 0o644
            if content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def image_archive(path, name, layers):
    """Writes what `docker save` writes, of (command, tar) for each layer."""
    steps = [{"created_by": "ENV nothing", "empty_layer": True}]
    steps += [{"created_by": command} for command, _ in layers]
    ids = ["sha256:" + hashlib.sha256(tar).hexdigest() for _, tar in layers]
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "history": steps,
                         "rootfs": {"type": "layers", "diff_ids": ids}}).encode()
    files = [(f"{number}.tar", tar) for number, (_, tar) in enumerate(layers)]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name],
                            "Layers": [file for file, _ in files]}]).encode()
    with open(path, "wb") as archive:
        archive.write(tar_of(("manifest.json", manifest), ("config.json", config), *files))


LAYERS = [
    ("base", tar_of(("bin", None), ("bin/tool", b"t" * 100_000), ("etc", None),
                    ("etc/conf", b"old\n"), ("cache", None), ("cache/a", b"a" * 50_000),
                    ("cache/b", b"b" * 1000), ("odd\x1b[31m\tname", b"o" * 10),
                    ("opt", None), ("opt/x", b"xx"))),
    ("chmod 700 tool", tar_of(("bin", None), ("bin/tool", b"t" * 100_000, 0o700))),
    ("rm -r cache", tar_of((".wh.cache", b""), ("etc", None), ("etc/conf", b"newer\n"),
                           ("etc/more", b"more\n"), ("opt", None, 0o700),
                           ("opt/.wh..wh..opq", b""), (".wh.odd\x1b[31m\tname", b""))),
    ("copy tool again", tar_of(("bin", None), ("bin/tool", b"t" * 100_000, 0o700),
                               ("bin/new", b"new"), ("opt", None, 0o700))),
]


def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)
    archive = os.path.join(DAEMON.work, "layered.tar")
    # In two steps: of layers that come at the same time, neither finds the other's files.
    for name, layers in (("half:1", LAYERS[:3]), ("layered:1", LAYERS)):
        image_archive(archive, name, layers)
        strata("load", "-q", "-i", archive)


def explore(*words, **options):
    return strata("image", "explore", *words, **options)


def rows(*words):
    return [json.loads(line) for line in explore("--format", "json", *words).splitlines()]


def refused(*words, status=1):
    """The one line that a command complains with."""
    done = subprocess.run([STRATA, "image", "explore", *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    assert done.returncode == status, (words, done)
    assert done.stdout == "", done.stdout
    return done.stderr.strip()


class ExploreTest(unittest.TestCase):
    def test_layers_with_what_they_brought_and_hid(self):
        told = {row["Layer"]: row for row in rows("layered:1")}
        self.assertEqual(list(told), [4, 3, 2, 1])

        def numbers(layer):
            return [told[layer][name] for name in ("Added", "Replaced", "Hidden", "SizeBytes",
                                                   "WastedBytes")]

        self.assertEqual(numbers(1), [10, 0, 0, 151_016, 151_016])
        self.assertEqual(numbers(2), [0, 1, 0, 100_000, 100_000])
        self.assertEqual(numbers(3), [1, 2, 5, 11, 0])
        self.assertEqual(numbers(4), [1, 1, 0, 100_003, 0])
        self.assertEqual(told[3]["CreatedBy"], "rm -r cache")
        self.assertEqual((told[4]["Unchanged"], told[2]["Unchanged"]), (1, 0))
        digest = "sha256:" + hashlib.sha256(LAYERS[1][1]).hexdigest()
        self.assertEqual(rows("--no-trunc", "layered:1")[2]["Digest"], digest)

    def test_totals_tell_transfer_and_disk_apart(self):
        table = explore("layered:1")
        self.assertRegex(table, r"\ALAYER +DIGEST +CREATED BY +ADDED +REPLACED +HIDDEN")
        # Layers 2 and 4 have their file in common.
        self.assertIn("Content: 351kB. Wasted: 251kB when transferred, 151kB on disk", table)
        self.assertIn("Efficiency: 28.4%", table)
        self.assertTrue(explore("box").endswith("Wasted: 0B. Efficiency: 100%"))

    def test_the_largest_wasted_files(self):
        found = [(row["Path"], row["SizeBytes"], row["Layer"], row["HiddenBy"], row["How"])
                 for row in rows("--wasted", "layered:1")]
        self.assertEqual(found, [
            ("/bin/tool", 100_000, 1, 2, "only metadata changed"),
            ("/bin/tool", 100_000, 2, 4, "replaced by the same"),
            ("/cache/a", 50_000, 1, 3, "removed"),
            ("/cache/b", 1000, 1, 3, "removed"),
            ("/odd\x1b[31m\tname", 10, 1, 3, "removed"),
            ("/etc/conf", 4, 1, 3, "replaced"),
            ("/opt/x", 2, 1, 3, "removed"),
        ])
        self.assertEqual(len(rows("--wasted", "--limit", "2", "layered:1")), 2)
        self.assertEqual(len(rows("--wasted", "--limit", "0", "layered:1")), 7)
        table = explore("--wasted", "layered:1")
        self.assertIn("in 7 files", table)
        self.assertIn(r"/odd\x1b[31m\x09name", table)

    def test_a_path_through_the_layers(self):
        found = [(row["Layer"], row["Effect"], row["What"], row["Mode"])
                 for row in rows("layered:1", "bin/tool")]
        self.assertEqual(found, [(1, "added", "added", "0644"),
                                 (2, "replaced", "only its metadata changed", "0700"),
                                 (4, "replaced", "replaced by the same", "0700")])
        self.assertIn("/bin/tool is visible as layer 4 has it", explore("layered:1", "/bin/tool"))
        gone = explore("layered:1", "/cache/a")
        self.assertIn("removed by a whiteout of /cache", gone)
        self.assertIn("/cache/a is not visible since layer 3", gone)
        opaque = explore("--format", "{{.What}}", "layered:1", "/opt")
        self.assertEqual(opaque, "added\nreplaced, as /opt is opaque\nhas it, too")
        self.assertIn("hidden by the opaque directory /opt", explore("layered:1", "/opt/x"))
        self.assertEqual(explore("--format", "{{.Layer}} {{.What}}", "layered:1", "etc/conf"),
                         "1 added\n3 replaced by other content")

    def test_a_directory_with_who_brought_what(self):
        found = [(row["Name"], row["AddedBy"], row["ReplacedBy"], row["HiddenBy"])
                 for row in rows("--list", "layered:1", "/etc")]
        self.assertEqual(found, [("conf", "1", "3", "-"), ("more", "3", "-", "-")])
        root = {row["Name"]: row["HiddenBy"] for row in rows("--list", "layered:1")}
        self.assertEqual(root["cache"], "3")
        self.assertIn("ADDED BY", explore("layered:1", "/etc"))

    def test_works_without_indexes_and_with_damaged_ones(self):
        before = rows("layered:1")
        layers = f"{DAEMON.work}/data/layers/sha256"
        names = [hashlib.sha256(tar).hexdigest() for _, tar in LAYERS]
        os.unlink(f"{layers}/{names[0]}/index")
        with open(f"{layers}/{names[1]}/index", "r+b") as index:
            index.write(b"no index")
        self.assertEqual(rows("layered:1"), before)
        self.assertTrue(os.path.exists(f"{layers}/{names[0]}/index"))

    def test_says_what_is_wrong(self):
        self.assertIn("no such image", refused("absent").lower())
        self.assertEqual(refused("layered:1", "/bin/nope"), 'strata: no layer has "/bin/nope"')
        self.assertIn('no ".."', refused("layered:1", "../x"))
        self.assertIn("not a directory", refused("--list", "layered:1", "/bin/tool"))
        for words in ([], ["--wasted", "layered:1", "/bin"], ["--limit", "3", "layered:1"],
                      ["--wasted", "--limit", "x", "layered:1"]):
            refused(*words, status=125)


if __name__ == "__main__":
    unittest.main()
