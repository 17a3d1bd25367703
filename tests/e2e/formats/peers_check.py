#!/usr/bin/env python3
"""Image files between strata and skopeo, umoci, podman, buildah and docker, in both directions and
every format and packing: the image has to keep its id, its root filesystem every file of it."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from trees import Daemon, expect, expect_same, strata, tree, until

PATIENCE = 120
NAME = "docker.io/library/peers:1"
FORMATS = ("docker", "docker-archive", "oci-archive", "oci-dir")
PACKINGS = ("gzip", "zstd", "none")
STRATA = os.path.join(os.environ["STRATA_BIN_DIR"], "strata")


def run(*words, **options):
    done = subprocess.run(words, text=True, capture_output=True, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def make_layers(work):
    """Tars of a base, and of a layer that changes and hides some of it."""
    base = os.path.join(work, "base")
    os.makedirs(os.path.join(base, "etc/sub"))
    os.makedirs(os.path.join(base, "hidden/below"))
    os.makedirs(os.path.join(base, "tmp"))
    os.chmod(os.path.join(base, "tmp"), 0o1777)
    for number in range(50):
        with open(os.path.join(base, f"etc/sub/{number}"), "w", encoding="utf-8") as file:
            file.write(f"{number}\n" * number * 20)
    with open(os.path.join(base, "setuid"), "w", encoding="utf-8") as file:
        file.write("program")
    os.chmod(os.path.join(base, "setuid"), 0o4755)
    os.chown(os.path.join(base, "etc/sub/1"), 12, 34)
    os.link(os.path.join(base, "setuid"), os.path.join(base, "etc/linked"))
    os.symlink("../setuid", os.path.join(base, "etc/symbolic"))
    os.mkfifo(os.path.join(base, "fifo"))
    name = "n" * 120
    with open(os.path.join(base, "hidden/below", name), "w", encoding="utf-8") as file:
        file.write("long")
    top = os.path.join(work, "top")
    os.makedirs(os.path.join(top, "etc/sub"))
    os.makedirs(os.path.join(top, "hidden"))
    for path in ("etc/sub/.wh.2", "hidden/.wh..wh..opq"):
        with open(os.path.join(top, path), "w", encoding="utf-8"):
            pass
    for path in ("etc/sub/3", "hidden/new"):
        with open(os.path.join(top, path), "w", encoding="utf-8") as file:
            file.write("of the top\n")
    archives = []
    for directory in (base, top):
        archive = directory + ".tar"
        run("tar", "-C", directory, "--sort=name", "--format=pax", "-cf", archive, ".")
        archives.append(archive)
    return archives


class Layout:
    """An OCI layout that is written here."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs/sha256"))

    def put(self, value, media_type):
        """The descriptor of bytes, or of something that becomes JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs/sha256", digest), "wb") as file:
            file.write(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}",
                "digest": "sha256:" + digest, "size": len(data)}

    def put_image(self, tars, architecture):
        config = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/none"]},
                  "rootfs": {"type": "layers", "diff_ids": [tar["digest"] for tar in tars]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.put(config, "config.v1+json"), "layers": tars}
        return manifest["config"]["digest"], self.put(manifest, "manifest.v1+json") | {
            "platform": {"architecture": architecture, "os": "linux"}}

    def name(self, descriptor, name):
        index = {"schemaVersion": 2, "manifests": [
            descriptor | {"annotations": {"org.opencontainers.image.ref.name": name}}]}
        for file_name, value in (("index.json", index),
                                 ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(self.path, file_name), "w", encoding="utf-8") as file:
                json.dump(value, file)


def put_layers(daemon, layout):
    tars = []
    for layer in make_layers(daemon.work):
        with open(layer, "rb") as file:
            tars.append(layout.put(file.read(), "layer.v1.tar"))
    return tars


def make_image(daemon):
    """An image of two layers, by its parts, and one for two platforms; the id of the first."""
    layout = Layout(os.path.join(daemon.work, "source"))
    tars = put_layers(daemon, layout)
    identity, manifest = layout.put_image(tars, "amd64")
    layout.name(manifest, NAME)
    strata("import", "-q", layout.path)

    both = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [layout.put_image(tars[:1], architecture)[1]
                          for architecture in ("amd64", "arm64")]}
    index = layout.put(both, "index.v1+json")
    layout.name(index, "docker.io/library/platforms:1")
    strata("import", "-q", "--all-platforms", layout.path)
    check_platforms(daemon, both, index["digest"])
    return identity


def check_platforms(daemon, index, digest):
    """All platforms are given out again, and others find each of them."""
    with scratch(daemon.work) as directory:
        layout = os.path.join(directory, "layout")
        strata("save", "--format", "oci-dir", "-o", layout, "platforms:1")
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            listed = [entry["digest"] for entry in json.load(file)["manifests"]]
        expect("the index is the one that came", [digest], listed)
        for entry in index["manifests"]:
            architecture = entry["platform"]["architecture"]
            shown = run("skopeo", "--override-arch", architecture, "inspect", "--config",
                        f"oci:{layout}:1")
            expect("its platform", architecture, json.loads(shown)["architecture"])
        run("skopeo", "copy", "-q", "--insecure-policy", "--all", f"oci:{layout}:1",
            f"oci:{directory}/copied:1")
    strata("rmi", "platforms:1")


@contextlib.contextmanager
def scratch(work):
    directory = tempfile.mkdtemp(dir=work)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def strata_tree(work, name, whole_seconds=False):
    with scratch(work) as target:
        strata("mount", name, target)
        try:
            return tree(target, whole_seconds)
        finally:
            strata("umount", target)


class Peer:
    """Another program. `read` gives the id and the tree of an image file, `write` makes one."""
    reads = writes = ()
    unpacks = PACKINGS  # of those it reads
    whole_seconds = False  # all that is left of times where it gives files out
    packs = ("none",)  # of those it writes

    def __init__(self, work):
        self.work = os.path.join(work, type(self).__name__)
        os.makedirs(self.work)

    def close(self):
        pass


def transport(kind, path):
    """The name that skopeo and its relatives have for a file of that format."""
    return {"docker": "docker-archive:", "docker-archive": "docker-archive:",
            "oci-archive": "oci-archive:", "oci-dir": "oci:"}[kind] + path


class Skopeo(Peer):
    """skopeo copies; umoci unpacks what it copied."""
    reads = FORMATS
    writes = ("docker-archive", "oci-archive", "oci-dir")
    packs = ("gzip", "zstd")  # plain layers it packs for every layout; make_image() leaves them so

    def read(self, kind, path):
        with scratch(self.work) as directory:
            layout = os.path.join(directory, "layout")
            run("skopeo", "copy", "-q", "--insecure-policy", "--dest-compress-format", "gzip",
                transport(kind, path), f"oci:{layout}:copied")
            # As it is in the file: a layout made of docker's format has a configuration of its own.
            manifest = json.loads(run("skopeo", "inspect", "--raw", transport(kind, path)))
            return manifest["config"]["digest"], umoci_read(layout, "copied", directory)[1]

    def write(self, kind, packing, layout, path):
        words = ["skopeo", "copy", "-q", "--insecure-policy"]
        if kind != "docker-archive":
            words += ["--dest-compress", "--dest-compress-format", packing]
        run(*words, f"oci:{layout}:1", transport(kind, path) + ":" + NAME)


def umoci_read(layout, tag, directory):
    with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
        digest = json.load(file)["manifests"][0]["digest"].split(":")[1]
    with open(os.path.join(layout, "blobs/sha256", digest), encoding="utf-8") as file:
        identity = json.load(file)["config"]["digest"]
    bundle = os.path.join(directory, "bundle")
    run("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
    return identity, tree(os.path.join(bundle, "rootfs"))


class Umoci(Peer):
    """umoci itself: layouts alone."""
    reads = ("oci-dir",)
    unpacks = ("gzip", "none")

    def read(self, kind, path):
        with scratch(self.work) as directory:
            return umoci_read(path, "1", directory)


class Podman(Peer):
    """podman with a storage of its own."""
    driver = "vfs"
    reads = FORMATS
    writes = ("docker-archive", "oci-archive", "oci-dir")

    def __init__(self, work):
        super().__init__(work)
        # Not below `work`: a runroot of more than 50 characters is refused.
        self.runroot = tempfile.mkdtemp(prefix="run.")

    def podman(self, *words, **options):
        return run("podman", "--root", self.work + "/root", "--runroot", self.runroot,
                   "--storage-driver", self.driver, *words, **options)

    def pull(self, layout, tag=""):
        """podman names what it pulls by the path as it is given, and not every path is a name."""
        above, name = os.path.split(layout)
        return self.podman("pull", "-q", f"oci:{name}{tag}", cwd=above)

    def read(self, kind, path):
        if kind == "oci-dir":
            self.pull(path)
        else:
            self.podman("load", "-q", "-i", path)
        identity = self.podman("images", "-q", "--no-trunc").split()[0]
        try:
            where = self.podman("image", "mount", identity)
            try:
                return identity, tree(where)
            finally:
                self.podman("image", "unmount", identity)
        finally:
            self.podman("rmi", "-f", identity)

    def write(self, kind, _packing, layout, path):
        identity = "sha256:" + self.pull(layout, ":1").rsplit(":", 1)[-1]
        try:
            self.podman("tag", identity, NAME)
            self.podman("save", "-q", "--format", kind, "-o", path, NAME)
        finally:
            self.podman("rmi", "-f", identity)

    def close(self):
        mounts = [line.split()[4] for line in open("/proc/self/mountinfo", encoding="utf-8")
                  if f" {self.work}/" in line or f" {self.runroot}/" in line]
        for mount in reversed(mounts):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(self.runroot)


class Buildah(Podman):
    """buildah, which shares podman's code but not its commands."""
    writes = ()

    def podman(self, *words, **options):
        return run("buildah", "--root", self.work + "/root", "--runroot", self.runroot,
                   "--storage-driver", self.driver, *words, **options)

    def read(self, kind, path):
        # It makes a name of a layout's path, which random names of directories do not always suit.
        directory, name = os.path.split(path)
        container = self.podman("from", "-q", transport(kind, name), cwd=directory)
        try:
            identity = json.loads(self.podman("inspect", container))["FromImageID"]
            where = self.podman("mount", container)
            return "sha256:" + identity.removeprefix("sha256:"), tree(where)
        finally:
            self.podman("rm", container)
            self.podman("rmi", "-a", "-f")


class Docker(Peer):
    """docker's own daemon, which has a registry's formats and its own, and no layouts."""
    reads = ("docker", "docker-archive")
    writes = ("docker-archive",)
    whole_seconds = True
    # What it puts into every container.
    stubs = (".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc/hostname", "etc/hosts",
             "etc/mtab", "etc/resolv.conf", "proc", "sys")

    def __init__(self, work, driver="vfs"):
        super().__init__(work)
        self.address = f"unix://{self.work}/docker.sock"
        with open(self.work + "/log", "wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "-H", self.address, "--data-root", self.work + "/root",
                 "--exec-root", self.work + "/exec", "--pidfile", self.work + "/pid",
                 "--bridge=none", "--iptables=false", "--storage-driver", driver],
                stdout=log, stderr=log)
        until(lambda: subprocess.run(["docker", "-H", self.address, "version"], check=False,
                                     capture_output=True).returncode == 0, "dockerd answers")
        major = int(self.docker("version", "-f", "{{.Server.Version}}").split(".")[0])
        self.unpacks = PACKINGS if major >= 23 else ("gzip", "none")

    def docker(self, *words):
        return run("docker", "-H", self.address, *words)

    def read(self, kind, path):
        self.docker("load", "-q", "-i", path)
        identity = self.docker("images", "-q", "--no-trunc")
        container = self.docker("create", "--network", "none", identity)
        try:
            with scratch(self.work) as directory:
                archive = os.path.join(directory, "tar")
                self.docker("export", "-o", archive, container)
                root = os.path.join(directory, "root")
                os.makedirs(root)
                run("tar", "-C", root, "--numeric-owner", "-xpf", archive)
                found = tree(root, whole_seconds=True)
        finally:
            self.docker("rm", container)
            self.docker("rmi", "-f", identity)
        return identity, {path: entry for path, entry in found.items() if path not in self.stubs}

    def write(self, kind, _packing, layout, path):
        archive = self.work + "/copied"
        run("skopeo", "copy", "-q", "--insecure-policy", f"oci:{layout}:1",
            f"docker-archive:{archive}:{NAME}")
        self.docker("load", "-q", "-i", archive)
        os.unlink(archive)
        self.docker("save", "-o", path, NAME)
        self.docker("rmi", "-f", NAME)

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(PATIENCE)


PEERS = {"skopeo": Skopeo, "umoci": Umoci, "podman": Podman, "buildah": Buildah,
         "dockerd": Docker}


def kept_packings(daemon, image):
    """How the layers of an image are packed that are kept as they came."""
    with scratch(daemon.work) as directory:
        path = os.path.join(directory, "layout")
        strata("save", "--format", "oci-dir", "-o", path, image)
        with open(os.path.join(path, "index.json"), encoding="utf-8") as file:
            digest = json.load(file)["manifests"][0]["digest"].split(":")[1]
        with open(os.path.join(path, "blobs/sha256", digest), encoding="utf-8") as file:
            types = [layer["mediaType"] for layer in json.load(file)["layers"]]
    return {one.partition("+")[2] or "none" for one in types}


def check_reading(daemon, peer, identity):
    """The peer reads what strata writes."""
    wanted = strata_tree(daemon.work, identity, peer.whole_seconds)
    for kind in peer.reads:
        for packing in peer.unpacks:
            what = f"{type(peer).__name__} reads {kind}, {packing}"
            with scratch(daemon.work) as directory:
                path = os.path.join(directory, "image")
                strata("save", "--format", kind, "--compression", packing, "-o", path, "peers:1")
                got_identity, got = peer.read(kind, path)
            expect(what, identity, got_identity)
            expect_same(what, wanted, got)
            print("ok", what)


def check_writing(daemon, peer, layout, identity, wanted):
    """strata reads what the peer writes."""
    for kind in peer.writes:
        # docker-archive has the plain tars, whatever is asked for.
        for packing in ("none",) if kind == "docker-archive" else peer.packs:
            what = f"strata reads {kind} of {type(peer).__name__}, {packing}"
            strata("rmi", "-f", identity)
            with scratch(daemon.work) as directory:
                path = os.path.join(directory, "image")
                peer.write(kind, packing, layout, path)
                if kind == "oci-dir":
                    strata("import", "-q", path)
                else:
                    strata("load", "-q", "-i", path)
            expect(what, [identity], strata("images", "-q", "--no-trunc").split())
            if packing != "none":
                expect(what, {packing}, kept_packings(daemon, identity))
            expect_same(what, wanted, strata_tree(daemon.work, identity))
            print("ok", what)


def check_damage(daemon):
    """An answer that breaks off leaves no file and no success."""
    # Its layer came as a plain tar, which is made of the layer's files again.
    [box] = glob.glob(os.path.join(daemon.work, "data/layers/sha256/*/fs/bin/busybox"))
    with open(box, "r+b") as file:
        file.seek(os.path.getsize(box) - 100)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with scratch(daemon.work) as directory:
        path = os.path.join(directory, "image")
        for words in ([STRATA, "save", "-o", path, "box"],
                      [STRATA, "save", "--format", "oci-dir", "-o", path, "box"],
                      ["docker", "-H", os.environ["STRATA_HOST"], "save", "-o", path, "box"]):
            done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
            expect(f"{words} of a damaged image fails", True, done.returncode != 0)
            if words[0] == STRATA:
                expect(f"nothing is left of {words}", [], os.listdir(directory))


def main():
    daemon = Daemon()
    missing = [name for name in PEERS if shutil.which(name) is None]
    peers = []
    try:
        identity = make_image(daemon)
        strata("save", "-o", os.path.join(daemon.work, "kept.tar"), "peers:1")
        check_damage(daemon)
        strata("rmi", "box")
        wanted = strata_tree(daemon.work, "peers:1")
        layout = os.path.join(daemon.work, "layout")
        strata("save", "--format", "oci-dir", "-o", layout, "peers:1")
        for name, make in PEERS.items():
            if name in missing:
                print("SKIP", name, "is not installed")
                continue
            peers.append(make(daemon.work))
            check_reading(daemon, peers[-1], identity)
            check_writing(daemon, peers[-1], layout, identity, wanted)
            strata("load", "-q", "-i", os.path.join(daemon.work, "kept.tar"))
        if "skopeo" in missing or "podman" in missing:
            sys.exit("too many peers are missing")
    finally:
        for peer in peers:
            peer.close()
        daemon.stop()


if __name__ == "__main__":
    main()
