#!/usr/bin/env python3
"""Makes an OCI image layout of layer directories, as a union filesystem leaves them.

    oci_layout.py --output DIR [--command ARG]... LAYER_DIRECTORY...      (base first)

Every directory becomes one gzip layer. A whiteout of overlayfs (character device 0/0) is written as OCI
wants it, ".wh.NAME", an opaque directory gets ".wh..wh..opq"; xattrs of overlayfs itself stay behind.
Run as root: owners, devices and trusted xattrs matter.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import stat
import tarfile
import time

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")


class Digesting:
    """A file object that hashes and counts what is written through it."""

    def __init__(self, target):
        self.target, self.hash, self.size = target, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.target.write(data)

    def flush(self) -> None:
        self.target.flush()

    @property
    def digest(self) -> str:
        return "sha256:" + self.hash.hexdigest()


def is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(path: str, names: list[str]) -> bool:
    return any(
        prefix + "opaque" in names and os.getxattr(path, prefix + "opaque", follow_symlinks=False) == b"y"
        for prefix in OVERLAY_XATTRS
    )


def add_empty(tar: tarfile.TarFile, name: str) -> None:
    tar.addfile(tarfile.TarInfo(name), io.BytesIO())


def add_entry(tar: tarfile.TarFile, path: str, name: str) -> None:
    info = os.lstat(path)
    folder, base = os.path.split(name)
    if is_whiteout(info):
        add_empty(tar, os.path.join(folder, ".wh." + base))
        return
    xattrs = os.listxattr(path, follow_symlinks=False)
    for prefix in OVERLAY_XATTRS:
        if prefix + "redirect" in xattrs or prefix + "metacopy" in xattrs:
            raise ValueError(f"{path}: its content lives in another layer")
    member = tar.gettarinfo(path, name)
    if member is None:
        return  # a socket
    member.uname = member.gname = ""
    member.pax_headers = {
        "SCHILY.xattr." + key: os.getxattr(path, key, follow_symlinks=False).decode("utf-8", "surrogateescape")
        for key in xattrs
        if not key.startswith(OVERLAY_XATTRS)
    }
    member.pax_headers["mtime"] = f"{info.st_mtime_ns // 10**9}.{info.st_mtime_ns % 10**9:09d}"
    if member.isreg():
        with open(path, "rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)
    if member.isdir() and is_opaque(path, xattrs):
        add_empty(tar, os.path.join(name, ".wh..wh..opq"))


def write_layer(source: str, target) -> tuple[Digesting, Digesting]:
    """(compressed, plain) digests of the layer written."""
    compressed = Digesting(target)
    with gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=1, mtime=0) as packer:
        plain = Digesting(packer)
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for folder, names, files in os.walk(source):
                names.sort()
                relative = os.path.relpath(folder, source)
                if relative != ".":
                    add_entry(tar, folder, relative)
                links = [n for n in names if os.path.islink(os.path.join(folder, n))]
                for name in sorted(files + links):
                    add_entry(tar, os.path.join(folder, name), os.path.normpath(os.path.join(relative, name)))
    return compressed, plain


class Layout:
    def __init__(self, root: str):
        self.root = root
        self.blobs = os.path.join(root, "blobs/sha256")
        os.makedirs(self.blobs)
        self.write_json("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def write_json(self, name: str, value) -> None:
        with open(os.path.join(self.root, name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    def descriptor(self, kind: str, digest: str, size: int) -> dict:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": size}

    def add_layer(self, source: str) -> tuple[dict, str]:
        staging = os.path.join(self.root, "staging")
        with open(staging, "wb") as file:
            compressed, plain = write_layer(source, file)
        os.rename(staging, os.path.join(self.blobs, compressed.digest.split(":")[1]))
        return self.descriptor("layer.v1.tar+gzip", compressed.digest, compressed.size), plain.digest

    def add_json(self, kind: str, value) -> dict:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.blobs, digest), "wb") as file:
            file.write(data)
        return self.descriptor(kind, "sha256:" + digest, len(data))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes an OCI image layout of layer directories.")
    parser.add_argument("--output", required=True)
    parser.add_argument("--command", action="append", help="the image's default command")
    parser.add_argument("layers", nargs="+")
    options = parser.parse_args()

    layout = Layout(options.output)
    layers, diff_ids = zip(*(layout.add_layer(source) for source in options.layers))
    machine = platform.machine()
    config = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": options.command or ["/bin/sh"],
        },
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.add_json("config.v1+json", config),
        "layers": list(layers),
    }
    index = {"schemaVersion": 2, "manifests": [layout.add_json("manifest.v1+json", manifest)]}
    layout.write_json("index.json", index)


if __name__ == "__main__":
    main()
