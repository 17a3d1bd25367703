"""The filesystems that are compared, each as something that mounts a stack of layers."""

import os
import shutil
import subprocess
import time
from pathlib import Path


class Peer:
    """Mounts a tree with a fresh upper layer below `scratch`; a context manager giving the mount."""

    name = ""

    def __init__(self, scratch):
        self.scratch = Path(scratch)
        self.process = None

    @classmethod
    def missing(cls):
        """Why this peer cannot be measured here, or None."""
        return None

    def mount(self, tree):
        for part in ("upper", "work", "mnt"):
            shutil.rmtree(self.scratch / part, ignore_errors=True)
            (self.scratch / part).mkdir(parents=True)
        self.start(tree, self.scratch / "upper", self.scratch / "work", self.scratch / "mnt")
        return self.scratch / "mnt"

    def unmount(self):
        subprocess.run(["umount", self.scratch / "mnt"], check=True)
        if self.process is not None:
            self.process.wait(timeout=60)
            self.process = None

    def spawn(self, command, mountpoint):
        """Starts a server that stays in the foreground and waits for its mount."""
        device = os.stat(mountpoint).st_dev
        self.process = subprocess.Popen(command)
        for _ in range(1000):
            if os.stat(mountpoint).st_dev != device:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not mount: {' '.join(map(str, command))}")


class Native(Peer):
    """No union: the flattened tree itself."""

    name = "native"

    def start(self, tree, upper, work, mountpoint):
        for layer in reversed(tree.layers):
            shutil.copytree(layer, mountpoint, dirs_exist_ok=True)

    def unmount(self):
        shutil.rmtree(self.scratch / "mnt")


class Overlay(Peer):
    name = "overlayfs"

    def start(self, tree, upper, work, mountpoint):
        lower = ":".join(map(str, tree.layers))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, mountpoint], check=True)


class FuseOverlayfs(Peer):
    name = "fuse-overlayfs"

    @classmethod
    def missing(cls):
        return None if shutil.which("fuse-overlayfs") else "fuse-overlayfs is not installed"

    def start(self, tree, upper, work, mountpoint):
        lower = ":".join(map(str, tree.layers))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        self.spawn(["fuse-overlayfs", "-f", "-o", options, mountpoint], mountpoint)


class UnionfsFuse(Peer):
    name = "unionfs-fuse"

    @classmethod
    def missing(cls):
        return None if shutil.which("unionfs-fuse") else "unionfs-fuse is not installed"

    def start(self, tree, upper, work, mountpoint):
        branches = ":".join([f"{upper}=RW"] + [f"{layer}=RO" for layer in tree.layers])
        self.spawn(["unionfs-fuse", "-f", "-o", "cow,allow_other", branches, mountpoint], mountpoint)


class Strata(Peer):
    """Over /dev/fuse."""

    name = "stratafs"
    program = "stratafs"
    options = ""
    transport = "dev"

    @classmethod
    def missing(cls):
        return None if shutil.which(cls.program) else f"{cls.program} not found (see --stratafs)"

    def lower(self, tree):
        return "lowerdir=" + ":".join(map(str, tree.layers))

    def start(self, tree, upper, work, mountpoint):
        options = f"{self.lower(tree)},upperdir={upper},workdir={work},transport={self.transport}"
        if self.options:
            options += "," + self.options
        self.spawn([self.program, "-f", "-o", options, mountpoint], mountpoint)


class StrataUring(Strata):
    """Over io_uring."""

    name = "stratafs-uring"
    transport = "uring"
    setting = Path("/sys/module/fuse/parameters/enable_uring")

    @classmethod
    def missing(cls):
        if not cls.setting.exists():
            return "the kernel has no FUSE over io_uring"
        return super().missing()

    def mount(self, tree):
        before = self.setting.read_text()
        try:
            return super().mount(tree)  # sets it where it is off
        finally:
            self.setting.write_text(before)


class StrataChain(Strata):
    """The same through the index of the layers, as images of a store are mounted."""

    name = "stratafs-index"

    @classmethod
    def missing(cls):
        if not cls.indexer().exists():
            return f"{cls.indexer()} is not built"
        return super().missing()

    @classmethod
    def indexer(cls):
        return Path(shutil.which(Strata.program) or Strata.program).parent / "index_chain"

    def lower(self, tree):
        chain = self.scratch / f"chain{len(tree.layers)}"
        if not chain.exists():
            chain.mkdir(parents=True)
            subprocess.run([self.indexer(), chain, *tree.layers], check=True, stdout=subprocess.DEVNULL)
        return f"chain={chain}"


PEERS = {peer.name: peer
         for peer in (Native, Overlay, FuseOverlayfs, UnionfsFuse, Strata, StrataUring, StrataChain)}
# The names --transport takes, and the peers they leave.
TRANSPORTS = {"dev": Strata.name, "uring": StrataUring.name}
