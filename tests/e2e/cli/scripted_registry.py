"""A registry on loopback that answers as a test tells it to: well, badly, or not at all."""

import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind, data):
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def tar_of(name):
    """With one file of that name."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 7
        archive.addfile(member, io.BytesIO(b"content"))
    return tar.getvalue()


class Image:
    """An image as a registry has it, a layer for each name; tests spoil it."""

    def __init__(self, *names):
        tars = [tar_of(name) for name in names or ("file",)]
        layers = [gzip.compress(tar, mtime=0) for tar in tars]
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]}}).encode()
        self.layer_digests = [digest(layer) for layer in layers]
        self.layer_digest = self.layer_digests[-1]
        self.blobs = dict(zip(self.layer_digests, layers)) | {digest(config): config}
        self.manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                         "config": descriptor(CONFIG, config),
                         "layers": [descriptor(LAYER, layer) for layer in layers]}

    def manifest_bytes(self):
        return json.dumps(self.manifest).encode()


class Registry(http.server.ThreadingHTTPServer):
    """Serves `image`, unless told otherwise: a status, raw bytes, nothing, an endless drip."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.image = Image()
        self.blobs_asked_for = []
        self.status = None
        self.raw = None
        self.dripping = False
        self.asked = threading.Event()
        self.left = threading.Event()  # by the client, in the middle of a drip
        self.released = threading.Event()
        self.released.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self):
        self.released.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        del words

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self):
        """Slow, but never so slow that it counts as stalled."""
        self.send_response(200)
        self.send_header("Content-Type", MANIFEST)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while True:
            self.wfile.write(b" " * 100)
            self.server.asked.set()
            time.sleep(0.1)

    def do_GET(self):
        try:
            self.get()
        except ConnectionError:
            self.close_connection = True
            self.server.left.set()

    def get(self):
        registry = self.server
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        if registry.dripping:
            return self.drip()
        registry.released.wait()
        if registry.raw is not None:
            self.close_connection = True
            return self.wfile.write(registry.raw)
        if registry.status is not None:
            errors = {"errors": [{"code": "SPOILED", "message": "as the test wants it"}]}
            return self.answer(registry.status, json.dumps(errors).encode())
        if "/manifests/" in self.path:
            return self.answer(200, registry.image.manifest_bytes(), MANIFEST)
        name = self.path.rpartition("/")[2]
        registry.blobs_asked_for.append(name)
        blob = registry.image.blobs.get(name)
        return self.answer(404, b"{}") if blob is None else self.answer(200, blob)
