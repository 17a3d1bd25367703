"""The layers that are measured, made of the machine's own files and from seeds; all by one writer, the same each time."""

import hashlib
import json
import os
import random
import stat
import subprocess
import tarfile
from pathlib import Path

TAG = "1"
SEED = 20261130


class LayoutWriter:
    """An OCI layout that grows by layers; finish() names the image."""

    def __init__(self, path):
        self.path = Path(path)
        (self.path / "blobs/sha256").mkdir(parents=True)
        self.diff_ids = []
        self.layers = []

    def put(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    def add_layer(self, tar):
        """The layer whose tar is that file; gzip packs it, as registries have them."""
        packed = Path(f"{tar}.gz")
        with open(packed, "wb") as out:
            subprocess.run(["gzip", "-n", "-6", "-c", tar], stdout=out, check=True)
        digest, size = sha256_of(packed), packed.stat().st_size
        os.replace(packed, self.path / "blobs/sha256" / digest)
        self.diff_ids.append(f"sha256:{sha256_of(tar)}")
        self.layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{digest}",
                            "size": size})

    def finish(self):
        config = {"architecture": "amd64", "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.put(json.dumps(config).encode(), "config.v1+json"), "layers": self.layers}
        entry = self.put(json.dumps(manifest).encode(), "manifest.v1+json")
        entry["annotations"] = {"org.opencontainers.image.ref.name": TAG}
        entry["platform"] = {"architecture": "amd64", "os": "linux"}
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return Image(self.path)


class Image:
    """A layout, and the same as one file: what `podman load` takes."""

    def __init__(self, layout):
        self.layout = layout
        self.archive = layout.with_suffix(".oci.tar")
        subprocess.run(["tar", "-C", layout, "-cf", self.archive, "."], check=True)
        index = json.loads((layout / "index.json").read_text())
        manifest = self.blob(index["manifests"][0]["digest"])
        self.layer_blobs = [self.blob_path(layer["digest"]) for layer in json.loads(manifest)["layers"]]

    def blob_path(self, digest):
        return self.layout / "blobs/sha256" / digest.split(":")[1]

    def blob(self, digest):
        return self.blob_path(digest).read_bytes()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def system_files(size):
    """Of /usr, directory by directory, so many bytes; programs, libraries and texts as on any Debian."""
    total = 0
    for top in ("bin", "sbin", "lib/x86_64-linux-gnu", "share/doc", "share/zoneinfo", "lib/python3", "include", "lib",
                "share"):
        for directory, names, files in os.walk(os.path.join("/usr", top)):
            names.sort()
            yield directory
            for name in sorted(files):
                path = os.path.join(directory, name)
                info = os.lstat(path)
                if not stat.S_ISREG(info.st_mode) and not stat.S_ISLNK(info.st_mode):
                    continue
                yield path
                total += info.st_size
                if total >= size:
                    return


def tar_of_system(tar, size):
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as out:
        seen = set()
        for path in system_files(size):
            if path not in seen:
                seen.add(path)
                out.add(path, recursive=False)


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.type = size, 1_700_000_000, kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def write_tar(tar, files):
    """`files` gives names and contents; directories stand before what is first in them."""
    known = {""}
    with open(tar, "wb", buffering=1 << 20) as out:
        for name, content in files:
            for end in (at for at, letter in enumerate(name) if letter == "/"):
                if name[:end] not in known:
                    known.add(name[:end])
                    out.write(header(name[:end], 0, tarfile.DIRTYPE))
            out.write(header(name, len(content)))
            out.write(content)
            out.write(bytes(-len(content) % 512))
        out.write(bytes(1024))


def words(source, size):
    """Text that packs about as well as programs do."""
    vocabulary = [source.randbytes(source.randrange(3, 12)) for _ in range(400)]
    text = b"".join(source.choices(vocabulary, k=size // 6 + 10))
    return text[:size]


def small_files(source, directory, count):
    return [(f"{directory}/{number % 7}/file{number}", words(source, source.randrange(100, 20_000)))
            for number in range(count)]


def debian(directory, scale):
    tar = directory / "debian.tar"
    tar_of_system(tar, scale.debian)
    writer = LayoutWriter(directory / "debian")
    writer.add_layer(tar)
    return writer.finish(), tar


def many_layers(directory, scale):
    writer = LayoutWriter(directory / "many")
    for number in range(scale.layers):
        tar = directory / "layer.tar"
        write_tar(tar, small_files(random.Random(SEED + number), f"usr/lib/part{number % 20}", 12))
        writer.add_layer(tar)
        tar.unlink()
    return writer.finish()


def one_large(directory, scale):
    source = random.Random(SEED)
    piece = words(source, 1 << 20)
    tar = directory / "large.tar"
    count = max(scale.large >> 24, 1)
    # Sixteen times a MiB that is the same but for its start: packing it does not take all day.
    write_tar(tar, ((f"data/{number}", b"".join(source.randbytes(1 << 18) + piece[1 << 18:] for _ in range(16)))
                    for number in range(count)))
    writer = LayoutWriter(directory / "large")
    writer.add_layer(tar)
    tar.unlink()
    return writer.finish()


def tiny_files(directory, scale):
    tar = directory / "tiny.tar"
    write_tar(tar, ((f"srv/{number // 10_000}/{number // 100 % 100}/{number}", b"%d\n" % number)
                    for number in range(scale.tiny)))
    writer = LayoutWriter(directory / "tiny")
    writer.add_layer(tar)
    tar.unlink()
    return writer.finish()


def two_versions(directory, scale):
    """Two images of one layer each: nine of ten files of the second are the first's."""
    images = []
    for version in (1, 2):
        tar = directory / f"version{version}.tar"
        files = []
        for number in range(scale.versions):
            changed = number % 10 == 0
            source = random.Random(f"{SEED}.{number}.{version if changed else 1}")
            files.append((f"opt/app/{number // 100}/{number}", words(source, source.randrange(1000, 60_000))))
        write_tar(tar, files)
        writer = LayoutWriter(directory / f"version{version}")
        writer.add_layer(tar)
        images.append(writer.finish())
        tar.unlink()
    return images
