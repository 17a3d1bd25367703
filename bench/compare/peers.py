"""The filesystems that are compared, each as something that mounts a stack of layers."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MOUNT_TIMEOUT = 60
END_TIMEOUT = 60


@dataclass
class Mount:
    """A stack that a peer has mounted: where, how long that took (None if it is no mount), and the server's process
    if there is one."""

    path: Path
    stack: object
    milliseconds: float | None
    pid: int | None


class Peer:
    """Mounts a stack with a fresh upper layer."""

    name = ""
    program = None  # that is run to mount, if any is
    max_layers = None
    max_layers_reason = ""

    def missing(self):
        """Why this peer cannot be measured here, or None."""
        return None

    @contextlib.contextmanager
    def mount(self, stack, scratch):
        """Gives a Mount below the directory `scratch`, of which nothing is left afterwards."""
        parts = upper, work, mountpoint = [scratch / part for part in ("upper", "work", "mnt")]
        for part in parts:
            part.mkdir(parents=True)
        process = None
        try:
            self.prepare(stack)
            start = time.perf_counter()
            process = self.start(stack, upper, work, mountpoint)
            os.stat(mountpoint)
            taken = (time.perf_counter() - start) * 1e3
            yield Mount(mountpoint, stack, taken if self.program else None, process and process.pid)
        finally:
            end(mountpoint, process)
            shutil.rmtree(scratch)

    def prepare(self, stack):
        """What takes none of the mount's time: how fast the disk finds programs and layers is not the question."""
        if self.program:
            subprocess.run([self.program, "--version"], check=True, capture_output=True)
        for layer in stack.layers:
            os.listdir(layer)

    def start(self, stack, upper, work, mountpoint):
        """Mounts; gives the server's process, or None if there is none."""
        raise NotImplementedError

    def serve(self, command, mountpoint):
        """Starts a server that stays in the foreground and waits for its mount."""
        with tempfile.TemporaryFile(mode="w+") as errors:
            # A session of its own: Ctrl-C is for us, who then unmount.
            server = subprocess.Popen(command, start_new_session=True, stderr=errors)
            try:
                wait_for_mount(mountpoint, server, errors)
            except BaseException:
                server.kill()
                server.wait()
                raise
        return server


def wait_for_mount(mountpoint, server, errors):
    device = os.stat(mountpoint.parent).st_dev
    deadline = time.monotonic() + MOUNT_TIMEOUT
    while os.stat(mountpoint).st_dev == device:
        if server.poll() is not None or time.monotonic() > deadline:
            errors.seek(0)
            raise OSError(f"{Path(server.args[0]).name} did not mount: {errors.read().strip() or 'it does not say why'}")
        time.sleep(0.0002)


def end(mountpoint, process):
    """Unmounts what is mounted there and sees the server off."""
    for lazily in [[]] * 20 + [["-l"]]:
        if not is_mounted(mountpoint):
            break
        if subprocess.run(["umount", *lazily, mountpoint], capture_output=True).returncode != 0:
            time.sleep(0.1)
    if process is None or process.poll() is not None:
        return
    try:
        process.wait(END_TIMEOUT)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        process.wait()
        raise


def is_mounted(path):
    """From the kernel's list: asking a mount whose server is gone only gives an error."""
    wanted = str(path)
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        return any(line.split(" ")[1] == wanted for line in mounts)


class Native(Peer):
    """No union: a copy of the flattened tree."""

    name = "native"

    def start(self, stack, upper, work, mountpoint):
        for layer in reversed(stack.layers):
            shutil.copytree(layer, mountpoint, symlinks=True, dirs_exist_ok=True)
        os.sync()


class Overlay(Peer):
    name = "overlayfs"
    program = "mount"
    max_layers = 500
    max_layers_reason = "the kernel's limit (OVL_MAX_STACK)"

    def start(self, stack, upper, work, mountpoint):
        # Relative names, as mount(2) takes one page of options and 500 absolute ones are longer; in one
        # option, as mount(8) by itself would hand each layer over by a call of its own where it can.
        lower = ":".join(layer.name for layer in stack.layers)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, mountpoint], check=True,
                       cwd=stack.root, env={**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"})


class FuseOverlayfs(Peer):
    name = "fuse-overlayfs"
    program = "fuse-overlayfs"

    def missing(self):
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def start(self, stack, upper, work, mountpoint):
        lower = ":".join(map(str, stack.layers))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        return self.serve([self.program, "-f", "-o", options, mountpoint], mountpoint)


class UnionfsFuse(Peer):
    name = "unionfs-fuse"
    program = "unionfs-fuse"
    max_layers = 8
    max_layers_reason = "it asks every branch for every name, which takes minutes"

    def missing(self):
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def start(self, stack, upper, work, mountpoint):
        branches = ":".join([f"{upper}=RW"] + [f"{layer}=RO" for layer in stack.layers])
        return self.serve([self.program, "-f", "-o", "cow,allow_other", branches, mountpoint], mountpoint)


class Strata(Peer):
    """stratafs with these options; through the index of the layers, as images of a store are mounted, if so wanted."""

    uring_setting = Path("/sys/module/fuse/parameters/enable_uring")

    def __init__(self, name, program, options, through_index):
        self.name = name
        self.program = program
        self.options = options
        self.through_index = through_index

    @property
    def transport(self):
        chosen = [option for option in self.options if option.startswith("transport=")]
        return chosen[-1].partition("=")[2] if chosen else "dev"

    @property
    def passthrough(self):
        return not {"opens=off", "passthrough=off", "coherent", "writeback"} & set(self.options)

    @property
    def indexer(self):
        return Path(shutil.which(self.program) or self.program).parent / "index_chain"

    def missing(self):
        if not shutil.which(self.program):
            return f"{self.program} not found (see --stratafs)"
        if self.transport == "uring" and not self.uring_setting.exists():
            return "the kernel has no FUSE over io_uring"
        if self.through_index and not self.indexer.exists():
            return f"{self.indexer} is not built"
        return None

    def prepare(self, stack):
        super().prepare(stack)
        if not self.through_index:
            return
        directory = stack.root / "index"
        if not directory.exists():
            directory.mkdir()
            subprocess.run([self.indexer, directory, *stack.layers], check=True, stdout=subprocess.DEVNULL)
        (directory / "index").read_bytes()

    def start(self, stack, upper, work, mountpoint):
        lower = f"chain={stack.root / 'index'}" if self.through_index else "lowerdir=" + ":".join(
            map(str, stack.layers))
        options = ",".join([lower, f"upperdir={upper}", f"workdir={work}", *self.options])
        return self.serve([self.program, "-f", "-o", options, mountpoint], mountpoint)


@contextlib.contextmanager
def uring_setting_kept():
    """stratafs allows FUSE over io_uring for the whole system where it needs it; afterwards it is as it was."""
    setting = Strata.uring_setting
    before = setting.read_text() if setting.exists() else None
    try:
        yield
    finally:
        if before is not None:
            setting.write_text(before)


STRATA = ("stratafs=", "stratafs-uring=transport=uring", "stratafs-index=index",
          "stratafs-opens-off=opens=off,transport=uring")


def raise_file_limit():
    """Servers keep every layer open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def variant(text, program, more):
    """The peer that NAME=OPTION,... describes, with `more` options; the option "index" is ours."""
    name, separator, options = text.partition("=")
    if not name or not separator:
        raise ValueError(f"'{text}' is not NAME=OPTION,...")
    words = [option for option in options.split(",") if option]
    return Strata(name, program, [word for word in words if word != "index"] + more, "index" in words)


def all_peers(program, options, variants):
    """{name: peer}; `options` are given to every stratafs."""
    strata = [variant(text, program, options) for text in (*STRATA, *variants)]
    return {peer.name: peer for peer in (Native(), Overlay(), FuseOverlayfs(), UnionfsFuse(), *strata)}
