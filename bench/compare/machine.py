"""What kind of machine it is, without saying which."""

import os
import platform
import shutil
import subprocess

GIB = 1 << 30


def describe(filesystem):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = {"processors": str(os.cpu_count()), "memory": f"{memory:.0f} GiB",
             "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]), "filesystem": filesystem}
    for program in ("fuse-overlayfs", "unionfs-fuse"):
        if shutil.which(program):
            found[program] = version(program)
    return found


def version(program):
    """The last word of the first line that names the program."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True)
    lines = [line for line in (output.stdout + output.stderr).splitlines() if program in line]
    return lines[0].split()[-1] if lines else "unknown"
