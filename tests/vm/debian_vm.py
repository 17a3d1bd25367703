"""Runs a command under Debian's own kernel, in a virtual machine without hardware support.

For what the kernel of this machine has not: fs-verity, NFS. The machine sees this machine's root
directory, so that our programs and tests run in it as they are; what it writes stays in its memory.
Its disks are /dev/vda, /dev/vdb, ..., empty, or with a filesystem that is mounted at /run/vda, ...
$TMPDIR is on the first of those, else in memory. There is no network but its own loopback. What the
command prints comes out; its exit status is this program's. A panic, a hang, or a machine that ends
otherwise is status 125, with the console's last lines.

  debian_vm.py [--disk MIB[:ext4|:btrfs]]... [--nfs] [--env NAME=VALUE]... [--timeout SECONDS]
               [--memory MIB] [--module NAME]... -- COMMAND...

With --nfs, what is at /run/vda is also at /run/nfs, read-only, over NFS 4.2 from the machine itself.

Needs qemu-system-x86_64, busybox-static and the kernel that tools/setup/debian_kernel.sh brings.
"""

import argparse
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile

KERNEL = os.environ.get("STRATA_TEST_KERNEL", "/var/cache/strata/debian-kernel")
FAILED = 125
# Verity wants blocks of the size of a page.
MAKE = {"ext4": "mkfs.ext4 -q -b 4096 -O verity", "btrfs": "mkfs.btrfs -q"}
# What the machine itself needs, and what tests are about.
MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "9pnet_virtio", "9p", "crc32c_generic", "ext4",
           "btrfs", "fuse", "overlay", "loop", "erofs", "squashfs", "nfsv4", "nfsd")

# The kernel's server is told by hand what exportfs and rpc.mountd would: who 127.0.0.1 is, what is
# exported (flags: read-only, any port, no subtree check, the filesystem has a number; root stays
# root), and that the number 0 is it.
SERVE_NFS = """
mkdir -p /var/lib/nfs/v4recovery /run/nfs
mount -t nfsd nfsd /proc/fs/nfsd
echo 'nfsd 127.0.0.1 2147483647 tests' > /proc/net/rpc/auth.unix.ip/channel
echo "tests /run/vda 2147483647 $((0x1 + 0x2 + 0x400 + 0x2000)) 65534 65534 0" > /proc/net/rpc/nfsd.export/channel
echo 'tests 1 \\x00000000 2147483647 /run/vda' > /proc/net/rpc/nfsd.fh/channel
echo "-3 +4 +4.1 +4.2" > /proc/fs/nfsd/versions
echo 2 > /proc/fs/nfsd/threads
echo Y > /proc/fs/nfsd/v4_end_grace
mount -i -t nfs4 -o ro,addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2 127.0.0.1:/ /run/nfs
"""

INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc /sys /dev /host /memory /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do
  busybox insmod "/modules/$module.ko" || busybox poweroff -f
done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /host
busybox mount -t tmpfs tmpfs /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work none /root
busybox mount -t tmpfs tmpfs /root/run
busybox mkdir /root/run/memory
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sysfs /root/sys
busybox mount -t cgroup2 cgroup /root/sys/fs/cgroup
busybox mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/shm /root/dev/pts
busybox mount -t tmpfs tmpfs /root/dev/shm
busybox mount -t devpts devpts /root/dev/pts
busybox ip link set lo up
busybox cp /bin/busybox /then /job /root/run
exec busybox switch_root /root /run/busybox sh /run/then
"""

# Goes on from there as the first process: the root is a mount as on every machine, which containers
# rely on. The kernel panics when this ends, whatever the reason.
THEN = """
/run/busybox stty -F /dev/ttyS1 raw -echo
/bin/sh /run/job < /dev/null > /dev/ttyS1 2>&1
status=$?
/run/busybox sync
echo > /dev/ttyS1
echo "@TOKEN@ $status" > /dev/ttyS1
/run/busybox poweroff -f
"""


class VmError(Exception):
    """The machine did not do its work; the text says what and why."""


def module_info(path):
    """The names that a module needs loaded before it."""
    with open(path, "rb") as file:
        content = file.read()
    needed = []
    for field in content.split(b"\0"):
        # The first field of the section follows other bytes.
        if b"depends=" in field and len(field) < 1000:
            needed += field.split(b"depends=", 1)[1].decode("ascii", "ignore").split(",")
        if b"softdep=pre: " in field and len(field) < 1000:
            needed += field.split(b"softdep=pre: ", 1)[1].decode("ascii", "ignore").split()
    return [name.replace("-", "_") for name in needed if name]


def load_order(wanted):
    """Paths of the modules that are `wanted`, each after what it needs."""
    there = {}
    for file in os.listdir(os.path.join(KERNEL, "modules")):
        there[file.removesuffix(".ko").replace("-", "_")] = os.path.join(KERNEL, "modules", file)
    order = {}

    def add(name):
        if name in order or name not in there:  # what is not there is built into the kernel
            return
        order[name] = None
        needed = module_info(there[name])
        del order[name]
        for other in needed:
            add(other)
        order[name] = there[name]

    for name in wanted:
        if name.replace("-", "_") not in there:
            raise VmError(f"no module {name} in {KERNEL}")
        add(name.replace("-", "_"))
    return order


def cpio(entries):
    """An archive in the form that the kernel unpacks: of (name, mode, content)."""
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return archive


def read(path):
    with open(path, "rb") as file:
        return file.read()


def initramfs(job, token, modules):
    busybox = shutil.which("busybox")
    order = load_order(modules)
    entries = [(name, 0o040755, b"") for name in ("bin", "modules")]
    entries.append(("bin/busybox", 0o100755, read(busybox)))
    entries.append(("init", 0o100755, INIT.encode()))
    entries.append(("then", 0o100644, THEN.replace("@TOKEN@", token).encode()))
    entries.append(("job", 0o100755, job.encode()))
    entries.append(("modules/order", 0o100644, "\n".join(order).encode()))
    entries += [(f"modules/{name}.ko", 0o100644, read(path)) for name, path in order.items()]
    return cpio(entries)


def check_there():
    for program in ("qemu-system-x86_64", "busybox"):
        if not shutil.which(program):
            raise VmError(f"{program} is not installed; tools/setup/install.sh test does that")
    if not os.path.exists(os.path.join(KERNEL, "vmlinuz")):
        raise VmError(f"no kernel in {KERNEL}; tools/setup/debian_kernel.sh brings it")


def disk_name(number):
    return "vd" + "abcdefgh"[number]


def job_script(command, disks, nfs, environment):
    lines = ["set -e", "export PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    scratch = "/run/memory"
    for number, (_, filesystem) in reversed(list(enumerate(disks))):
        if filesystem:
            name = disk_name(number)
            scratch = f"/run/{name}"
            lines += [f"{MAKE[filesystem]} /dev/{name} > /dev/null", f"mkdir {scratch}",
                      f"mount /dev/{name} {scratch}"]
    if nfs:
        lines.append(SERVE_NFS)
    lines += [f"export HOME={scratch} TMPDIR={scratch}", f"cd {scratch}"]
    lines += [f"export {shlex.quote(setting)}" for setting in environment]
    lines.append("exec " + shlex.join(command))
    return "\n".join(lines) + "\n"


def run(command, disks=(), nfs=False, environment=(), timeout=400, memory=768, modules=(), out=None):
    """Runs `command` and returns its exit status; what it prints goes to `out`, a text file.

    `disks` are pairs of MiB and a filesystem, or None. VmError if there is no status.
    """
    check_there()
    out = out or sys.stdout
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="strata-vm.") as work:
        with open(os.path.join(work, "initramfs"), "wb") as file:
            file.write(initramfs(job_script(command, disks, nfs, environment), token, [*MODULES, *modules]))
        console = os.path.join(work, "console")
        qemu = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
                "-m", str(memory), "-display", "none", "-nodefaults", "-no-reboot",
                "-kernel", os.path.join(KERNEL, "vmlinuz"),
                "-initrd", os.path.join(work, "initramfs"),
                "-append", "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nokaslr",
                "-serial", f"file:{console}", "-serial", "stdio",
                "-device", "virtio-rng-pci",
                "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
        for number, (size, _) in enumerate(disks):
            disk = os.path.join(work, f"disk{number}")
            with open(disk, "wb") as file:
                file.truncate(size << 20)
            qemu += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
        status = None
        with subprocess.Popen(["timeout", "--kill-after=5", str(timeout), *qemu],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
            for line in machine.stdout:
                text = line.decode(errors="replace")
                if text.startswith(token):
                    status = int(text.split()[1])
                    break
                out.write(text)
                out.flush()
            machine.stdout.read()
        if status is not None:
            return status
        end = []
        if os.path.exists(console):
            end = read(console).decode(errors="replace").splitlines()[-80:]
        why = f"took more than {timeout} s" if machine.returncode == 124 else "ended"
        raise VmError(f"the machine {why} before the command did (qemu: {machine.returncode}); its "
                      "console:\n" + "\n".join(end))


def parse_disk(text):
    size, _, filesystem = text.partition(":")
    if filesystem and filesystem not in MAKE:
        raise argparse.ArgumentTypeError(f"no filesystem {filesystem}")
    return int(size), filesystem or None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--disk", type=parse_disk, action="append", default=[],
                        metavar="MIB[:FILESYSTEM]")
    parser.add_argument("--nfs", action="store_true")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--timeout", type=int, default=400, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=768, metavar="MIB")
    parser.add_argument("--module", action="append", default=[], metavar="NAME")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        return run(options.command, options.disk, options.nfs, options.env, options.timeout,
                   options.memory, options.module)
    except VmError as error:
        print(f"debian_vm.py: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
