"""What the client's options do, seen from outside, and what it says to bad input.

Drives the client against its own stratad, half of it over TCP. Needs STRATA_BIN_DIR.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import unittest

from harness import PATIENCE, RUN, STRATA, STRATAD, Daemon, strata, until

ONCE = (*RUN, "--rm")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def setUpModule():
    global DAEMON, TCP, DEAD
    DEAD = f"tcp://127.0.0.1:{free_port()}"
    TCP = f"tcp://127.0.0.1:{free_port()}"
    DAEMON = Daemon("--host", TCP)
    unittest.addModuleCleanup(DAEMON.stop)


class FeaturesTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="strata-features.")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def keep(self, name, *options, image="box"):
        strata(*RUN, "-d", "--name", name, *options, image, "sleep", "1000")
        command = [STRATA, "rm", "-f", name]
        self.addCleanup(subprocess.run, command, capture_output=True, check=False)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_tcp(self):
        self.assertIn("box", strata("--host", TCP, "images", "--format", "{{.Repository}}"))
        self.assertEqual(strata("-H", TCP, *ONCE, "-i", "box", "cat", input="far"), "far")
        self.assertIn("no TLS", DAEMON.log())
        environment = {**os.environ, "STRATA_HOST": TCP}
        self.assertEqual(strata(*ONCE, "box", "echo", "far", env=environment), "far")
        # The option wins over the environment.
        environment["STRATA_HOST"] = DEAD
        strata("-H", TCP, "ps", env=environment)

    def test_bind_mounts(self):
        self.write("note", "of the host\n")
        mount = f"{self.directory}:/mnt"
        self.assertEqual(strata(*ONCE, "-v", mount, "box", "cat", "/mnt/note"), "of the host")
        strata(*ONCE, "-v", mount, "box", "touch", "/mnt/made")
        self.assertTrue(os.path.exists(os.path.join(self.directory, "made")))
        strata(*ONCE, "-v", mount + ":ro", "box", "touch", "/mnt/refused", check=1)
        self.assertFalse(os.path.exists(os.path.join(self.directory, "refused")))

    def test_named_volumes(self):
        self.addCleanup(strata, "volume", "rm", "seeded", "empty")
        self.assertEqual(strata(*ONCE, "-v", "seeded:/data", "box", "cat", "/data/seed"), "seed")
        strata(*ONCE, "-v", "seeded:/data", "box", "sh", "-c", "echo mine >/data/seed")
        # What is in it already is not seeded again, and :ro is.
        self.assertEqual(strata(*ONCE, "-v", "seeded:/data:ro", "box", "cat", "/data/seed"), "mine")
        strata(*ONCE, "-v", "seeded:/data:ro", "box", "touch", "/data/refused", check=1)
        self.assertEqual(strata(*ONCE, "-v", "empty:/data:nocopy", "box", "ls", "/data"), "")

    def test_anonymous_volumes_go_with_their_container(self):
        before = strata("volume", "ls", "-q")
        self.assertEqual(strata(*ONCE, "-v", "/data", "box", "cat", "/data/seed"), "seed")
        self.assertEqual(strata("volume", "ls", "-q"), before)

    def test_copy_up_policies_reach_the_mount(self):
        copied = {"write": False, "open": False, "read": True}
        for policy, expected in copied.items():
            self.keep(policy, "--copy-up", policy)
            upper = strata("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", policy)
            commands = subprocess.run(["pgrep", "-af", "stratafs"], capture_output=True, text=True,
                                      check=True).stdout.splitlines()
            mine = [line for line in commands if upper in line]
            self.assertEqual(len(mine), 1, commands)
            self.assertIn(f"copyup={policy}", mine[0])
            self.assertEqual(strata("exec", policy, "cat", "/data/seed"), "seed")
            self.assertEqual(os.path.exists(os.path.join(upper, "data/seed")), expected, policy)

    def test_image_mounts(self):
        strata("mount", "box", self.directory)
        seed = os.path.join(self.directory, "data/seed")
        with self.assertRaises(OSError):
            open(seed, "a", encoding="utf-8")
        strata("umount", self.directory)
        self.assertFalse(os.path.exists(seed))
        strata("mount", "--rw", "box", self.directory)
        with open(seed, "a", encoding="utf-8") as file:
            file.write("more\n")
        strata("umount", self.directory)
        self.assertEqual(strata(*ONCE, "box", "cat", "/data/seed"), "seed")

    def test_image_mounts_leave_the_daemons_own_directories_alone(self):
        link = os.path.join(self.directory, "link")
        os.symlink(DAEMON.work, link)
        for target in ("/", DAEMON.work, f"{DAEMON.work}/data", f"{DAEMON.work}/data/layers",
                       f"{DAEMON.work}/run", f"{link}/run"):
            with self.subTest(target=target):
                self.assert_refused(1, target, ("mount", "box", target), says=(target, "root"))
        beside = os.path.join(DAEMON.work, "data-of-another")
        os.mkdir(beside)
        strata("mount", "box", beside)
        strata("umount", beside)

    def import_other(self, text):
        os.makedirs(os.path.join(self.directory, "tree"), exist_ok=True)
        self.write("tree/text", text)
        archive = os.path.join(self.directory, "other.tar")
        subprocess.run(["tar", "-C", self.directory + "/tree", "-cf", archive, "."], check=True)
        return strata("image", "import", "-q", archive, "other")

    def test_image_in_use(self):
        strata("tag", "box", "held")
        identity = strata("image", "inspect", "-f", "{{.Id}}", "box")
        self.keep("holder")
        self.addCleanup(strata, "image", "import", "-q", DAEMON.archive, "box")
        strata("rmi", "held")  # only a name
        self.assert_refused(1, "holds", ("rmi", "box"), says=("box", "must force"))
        self.assert_refused(1, "runs", ("rmi", "-f", "box"), says=("box", "cannot be forced"))
        strata("stop", "-t", "0", "holder")
        self.assertIn(identity, strata("rmi", "-f", "box"))
        self.assert_refused(1, "gone", ("image", "inspect", "-f", "{{.Id}}", "box"), says=("box",))
        strata("start", "holder")
        self.assertEqual(strata("exec", "holder", "cat", "/data/seed"), "seed")

    def test_image_prune(self):
        replaced = self.import_other("first")
        kept = self.import_other("second")
        self.keep("user")
        names = strata("images", "-q", "--no-trunc")
        self.assertIn(replaced, names)
        self.assertIn(replaced, strata("image", "prune", "-f"))
        self.assertIn(kept, strata("images", "-q", "--no-trunc"))
        self.assertIn(kept, strata("image", "prune", "-a", "-f"))
        # What a container uses stays.
        self.assertEqual(strata("images", "--format", "{{.Repository}}"), "box")

    def assert_refused(self, status, what, words, says, command=STRATA, **options):
        """The command ends with `status` and one line that names what is wrong."""
        done = subprocess.run([command, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=PATIENCE, check=False, **options)
        lines = [line for line in done.stderr.splitlines() if not line.endswith("--help'")]
        self.assertEqual(done.returncode, status, f"{what}: {done.stderr}")
        self.assertEqual(len(lines), 1, f"{what}: {done.stderr}")
        for part in says:
            self.assertIn(part, lines[0], what)

    def test_bad_input_gets_one_line(self):
        text = self.write("text", "no archive\n" * 100)
        cases = (
            (125, ("--bad", "ps"), ("--bad",)),
            (125, ("run", "--bad", "box"), ("--bad",)),
            (125, ("run", "--pull", "never", "absent", "true"), ("absent",)),
            (125, (*ONCE, "--name", "a/b", "box", "true"), ("a/b",)),
            (125, ("run", "--network", "lan", "box", "true"), ("lan",)),
            (125, (*ONCE, "-v", "name:relative", "box", "true"), ("relative",)),
            (125, (*ONCE, "-v", "name:/data:odd", "box", "true"), ("odd",)),
            (125, (*ONCE, "-u", "nobody-here", "box", "true"), ("nobody-here",)),
            (125, (*ONCE, "-w", "relative", "box", "true"), ("relative",)),
            (125, (*ONCE, "-m", "12zz", "box", "true"), ("12zz",)),
            (125, (*ONCE, "--copy-up", "never", "box", "true"), ("--copy-up", "never")),
            (125, (*ONCE, "-it", "box", "sh"), ("terminal",)),
            (127, (*ONCE, "box", "no-such-program"), ("no-such-program",)),
            (126, (*ONCE, "box", "/data"), ("/data",)),
            (1, ("start", "absent"), ("absent",)),
            (1, ("stop", "absent"), ("absent",)),
            (1, ("rm", "absent"), ("absent",)),
            (1, ("logs", "absent"), ("absent",)),
            (1, ("exec", "absent", "true"), ("absent",)),
            (1, ("kill", "absent"), ("absent",)),
            (1, ("pause", "absent"), ("absent",)),
            (1, ("inspect", "absent"), ("absent",)),
            (1, ("rmi", "absent"), ("absent",)),
            (1, ("tag", "absent", "other"), ("absent",)),
            (1, ("mount", "absent", self.directory), ("absent",)),
            (1, ("mount", "box", "/no/such/directory"), ("/no/such/directory",)),
            (1, ("umount", self.directory), (self.directory,)),
            (1, ("image", "import", "/no/such/archive"), ("/no/such/archive",)),
            (1, ("image", "import", "-q", text, "bad"), (text,)),
            (1, ("image", "import", "-q", text, "Bad:name:tag"), ("Bad:name:tag",)),
            (1, ("pull", "-q", "Bad/Name"), ("Name",)),
            (1, ("-H", DEAD, "ps"), (DEAD, "refused")),
            (1, ("-H", "unix:///no/such/socket", "ps"), ("/no/such/socket",)),
            (1, ("-H", "ftp://host", "ps"), ("ftp://host",)),
            (1, ("no-such-command",), ("no-such-command",)),
            (125, ("ps", "--filter", "odd"), ("odd",)),
            (125, ("ps", "--format", "{{.ID"), ("{{",)),
        )
        images = strata("images", "-aq")
        for status, words, says in cases:
            with self.subTest(words=words):
                self.assert_refused(status, " ".join(words), words, says)
        self.assertEqual(strata("images", "-aq"), images)
        self.assertEqual(strata("ps", "-aq"), "")

    def status_of(self, field, *options):
        """A line of the process's /proc/self/status in a container with these options."""
        script = f'while read name value; do [ "$name" != {field}: ] || echo $value; done'
        return strata(*ONCE, *options, "box", "sh", "-c", script + " </proc/self/status")

    def test_security_options(self):
        option = "--security-opt"
        for text, expected in (("no-new-privileges", "1"), ("no-new-privileges:true", "1"),
                               ("no-new-privileges=true", "1"), ("no-new-privileges:false", "0"),
                               ("apparmor=unconfined", "0"), ("label=disable", "0"),
                               ("label:disable", "0")):
            self.assertEqual(self.status_of("NoNewPrivs", option, text), expected, text)
        self.assertEqual(self.status_of("Seccomp"), "2")
        self.assertEqual(self.status_of("Seccomp", option, "seccomp=unconfined"), "0")
        for text in ("no-new-privileges:maybe", "seccomp:odd", "apparmor=docker-default",
                     "label=type:x", "odd", "odd=unconfined", ""):
            name = text.split(":", maxsplit=1)[0] if text.startswith("seccomp") else text
            self.assert_refused(125, text, (*ONCE, option, text, "box", "true"),
                                says=(f'invalid --security-opt 1: "{name}"',))

    def state_of(self, name, field):
        return strata("inspect", "-f", "{{" + field + "}}", name)

    def restarts_of(self, name):
        return int(self.state_of(name, ".RestartCount"))

    def restarting(self, name, policy, script):
        strata(*RUN, "-d", "--name", name, "--restart", policy, "box", "sh", "-c", script)
        command = [STRATA, "rm", "-f", name]
        self.addCleanup(subprocess.run, command, capture_output=True, check=False)

    def test_restart_on_failure(self):
        self.restarting("failing", "on-failure:2", "echo ran; exit 3")
        until(lambda: strata("logs", "failing").count("ran") == 3
              and self.state_of("failing", ".State.Status") == "exited", "it ran three times")
        self.assertEqual(self.restarts_of("failing"), 2)
        self.assertEqual(self.state_of("failing", ".State.ExitCode"), "3")
        self.restarting("fine", "on-failure", "true")
        until(lambda: self.state_of("fine", ".State.Status") == "exited", "it ended")
        self.assertEqual(self.restarts_of("fine"), 0)
        for words, says in ((("--restart", "sometimes"), "on-failure"),
                            (("--restart", "always:3"), "maximum retry count"),
                            (("--rm", "--restart", "always"), "AutoRemove")):
            self.assert_refused(125, says, (*RUN, *words, "box", "true"), says=(says,))

    def test_restart_until_stopped(self):
        for name, policy in (("ever", "always"), ("unless", "unless-stopped")):
            self.restarting(name, policy, "echo ran; exit 0")
            until(lambda: self.restarts_of(name) >= 2, "it is restarted")  # pylint: disable=W0640
            strata("stop", "-t", "0", name)
        counts = {name: self.restarts_of(name) for name in ("ever", "unless")}
        DAEMON.crash()
        until(lambda: self.restarts_of("ever") > counts["ever"], "the daemon starts it")
        self.assertEqual(self.state_of("unless", ".State.Status"), "exited")
        strata("rm", "-f", "ever")
        self.assertEqual(strata("ps", "-aq", "--filter", "name=ever"), "")
        self.assertEqual(self.restarts_of("unless"), counts["unless"])
        strata("start", "unless")
        until(lambda: self.restarts_of("unless") >= 1, "its policy holds again")

    def test_a_hostile_name_is_shown_short_and_harmless(self):
        archive = os.path.join(self.directory, "hostile.tar")
        with tarfile.open(archive, "w") as tar:
            tar.addfile(tarfile.TarInfo("../\x1b[2Jred\n" + "n" * 70000))
        done = subprocess.run([STRATA, "image", "import", "-q", archive, "bad"], text=True,
                              capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("\\x1b[2Jred\\x0a", done.stderr)
        self.assertNotIn("\x1b", done.stderr)
        self.assertLess(len(done.stderr), 1000)

    def test_names_for_etc(self):
        hosts = strata(*ONCE, "--add-host", "a-b.c:10.1.2.3", "--add-host", "six:[2001:db8::1]",
                       "-h", "box-1.example", "box", "cat", "/etc/hosts", "/etc/hostname")
        for line in ("10.1.2.3\ta-b.c", "2001:db8::1\tsix", "box-1.example"):
            self.assertIn(line, hosts.splitlines())
        for option, text, says in (
                ("--add-host", "a:notanip", "a:notanip"), ("--add-host", "a", "NAME:IP"),
                ("--add-host", "a:1.2.3.4\n5.6.7.8 b", "no IP address"),
                ("--add-host", "a b:1.2.3.4", "no host name"), ("--add-host", ":1.2.3.4", "name"),
                ("--add-host", "a:host-gateway", "host-gateway needs"),
                ("--dns", "1.2.3.4\nsearch x", "no IP address"),
                ("-h", "a b/..", "a b/.."), ("-h", "-a", "-a"), ("-h", "a..b", "a..b"),
                ("-h", "h" * 64, "at most 63")):
            with self.subTest(option=option, text=text):
                done = subprocess.run([STRATA, *ONCE, option, text, "box", "true"],
                                      capture_output=True, text=True, timeout=PATIENCE, check=False)
                self.assertEqual(done.returncode, 125)
                self.assertIn(says, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_a_container_to_be_removed_that_never_started_goes(self):
        strata("create", "--network", "none", "--rm", "--name", "abandoned", "box", "true")
        strata("create", "--network", "none", "--name", "waiting", "box", "true")
        self.addCleanup(strata, "rm", "waiting")
        DAEMON.crash()
        self.assertEqual(strata("ps", "-a", "--format", "{{.Names}}"), "waiting")

    def test_rm_force_of_nothing(self):
        done = subprocess.run([STRATA, "rm", "-f", "never-there"], capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        self.assertEqual(done.stderr.strip(), "strata: No such container: never-there")

    def member_of(self, digest):
        return "blobs/sha256/" + digest.removeprefix("sha256:")

    def write_blob(self, layout, value):
        text = json.dumps(value)
        digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        self.write(f"{layout}/{self.member_of(digest)}", text)
        return {"digest": digest, "size": len(text)}

    def test_errors_of_the_system_have_their_reason(self):
        """What the system refuses is told with the place and the reason."""
        layer = "sha256:" + "96" * 32
        layout = os.path.join(self.directory, "layout")
        os.makedirs(layout + "/blobs/sha256")
        self.write("layout/oci-layout", '{"imageLayoutVersion": "1.0.0"}')
        oci = "application/vnd.oci.image."
        config = self.write_blob("layout", {"os": "linux", "architecture": "amd64", "rootfs": {
            "type": "layers", "diff_ids": [layer]}})
        manifest = self.write_blob("layout", {
            "schemaVersion": 2, "config": {"mediaType": oci + "config.v1+json", **config},
            "layers": [{"mediaType": oci + "layer.v1.tar", "digest": layer, "size": 512}]})
        index = {"schemaVersion": 2, "manifests": [{"mediaType": oci + "manifest.v1+json"}]}
        for case, digest, part in (("a layer", manifest["digest"], layer),
                                   ("a manifest", "sha256:" + "57" * 32, "sha256:" + "57" * 32)):
            index["manifests"][0].update(digest=digest, size=manifest["size"])
            self.write("layout/index.json", json.dumps(index))
            self.assert_refused(1, case, ("image", "import", "-q", layout, "bad"),
                                says=(self.member_of(part), "is not in the archive"))
        archive = os.path.join(self.directory, "saved.tar")
        self.write("manifest.json", json.dumps([{"Config": "c", "Layers": ["layer.tar"]}]))
        self.write("c", json.dumps({"os": "linux", "rootfs": {"diff_ids": [layer]}}))
        subprocess.run(["tar", "-C", self.directory, "-cf", archive, "manifest.json", "c"],
                       check=True)
        self.assert_refused(1, "docker archive", ("image", "import", "-q", archive, "bad"),
                            says=("layer.tar", "is not in the archive"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, "not-there"
        with tarfile.open(archive, "w") as tar:
            tar.addfile(link)
        self.assert_refused(1, "hard link", ("image", "import", "-q", archive, "bad"),
                            says=("not-there", "No such file or directory"))

    def test_an_unreadable_passwd_has_its_reason(self):
        os.makedirs(self.directory + "/tree/etc")
        os.symlink("passwd", self.directory + "/tree/etc/passwd")
        self.import_other("looped")
        self.assert_refused(125, "run", (*ONCE, "-u", "zz", "other", "true"),
                            says=("/etc/passwd", "Too many levels of symbolic links"))

    def test_a_dead_mount_has_its_reason(self):
        shutil.copytree(DAEMON.work + "/tree", self.directory + "/tree", symlinks=True)
        os.mkdir(self.directory + "/tree/etc")
        self.write("tree/etc/passwd", "zz:x:1:1::/:/bin/sh\n")
        self.import_other("with users")
        self.keep("orphan", image="other")
        upper = strata("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "orphan")
        found = subprocess.run(["pgrep", "-f", f"stratafs.*{upper}"], capture_output=True,
                               text=True, check=True).stdout.split()
        self.assertEqual(len(found), 1)
        os.kill(int(found[0]), signal.SIGKILL)
        merged = strata("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", "orphan")
        until(lambda: subprocess.run(["ls", merged], capture_output=True, check=False).returncode,
              "the mount is dead")
        said = strata("exec", "-u", "zz", "orphan", "true", check=126)
        self.assertEqual(len(said.splitlines()), 1)
        self.assertIn("/etc/passwd", said)
        self.assertIn("Transport endpoint is not connected", said)

    def test_roots_may_be_behind_symbolic_links(self):
        self.addCleanup(os.environ.__setitem__, "STRATA_HOST", os.environ["STRATA_HOST"])
        os.mkdir(self.directory + "/real")
        os.symlink("real", self.directory + "/link")
        other = Daemon(roots=self.directory + "/link")
        self.addCleanup(other.stop)
        self.assertEqual(strata(*ONCE, "box", "echo", "there"), "there")

    def test_a_daemon_that_cannot_start_says_why(self):
        root = ("--data-root", self.directory + "/data", "--run-root", self.directory + "/run")
        self.write("file", "")
        cases = (
            (2, ("--bad",), ("--bad",)),
            (1, (*root, "--runtime", "/no/such/runtime"), ("/no/such/runtime",)),
            (1, (*root, "--stratafs", "/no/such/stratafs"), ("/no/such/stratafs",)),
            (1, (*root, "--host", "tcp://0.0.0.0:1"), ("tcp://0.0.0.0:1", "TLS")),
            (1, ("--data-root", DAEMON.work + "/data", *root[2:]), (DAEMON.work, "another")),
            (1, ("--data-root", self.directory + "/file/data", *root[2:]), ("/file",)),
        )
        for status, words, says in cases:
            with self.subTest(words=words):
                self.assert_refused(status, " ".join(words), ("--log-level", "error", *words), says,
                                    command=STRATAD)

    def test_a_daemon_that_does_not_start_on_demand_says_why(self):
        environment = {**os.environ, "STRATA_ROOT": self.write("file", "") + "/root"}
        del environment["STRATA_HOST"]
        self.assert_refused(1, "on demand", ("ps",), ("/file",), env=environment)


if __name__ == "__main__":
    sys.exit(unittest.main())
