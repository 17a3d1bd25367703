"""Registries that answer badly: `strata pull` says what went wrong, and the store is as before.

A scripted registry on loopback; the client against its own stratad. Needs STRATA_BIN_DIR.
"""

import gzip
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import unittest

from harness import PATIENCE, STRATA, Daemon, strata

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind, data):
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


class Image:
    """A one-layer image as a registry has it; tests spoil it."""

    def __init__(self, name="file"):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.size = 7
            archive.addfile(member, io.BytesIO(b"content"))
        layer = gzip.compress(tar.getvalue(), mtime=0)
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar.getvalue())]}}).encode()
        self.layer_digest = digest(layer)
        self.blobs = {digest(config): config, self.layer_digest: layer}
        self.manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                         "config": descriptor(CONFIG, config),
                         "layers": [descriptor(LAYER, layer)]}

    def manifest_bytes(self):
        return json.dumps(self.manifest).encode()


class Registry(http.server.ThreadingHTTPServer):
    """Serves `image`, unless told otherwise: a status, raw bytes, nothing, an endless drip."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.image = Image()
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
        blob = registry.image.blobs.get(self.path.rpartition("/")[2])
        return self.answer(404, b"{}") if blob is None else self.answer(200, blob)


def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)


def stored():
    """What the store has: its images, and every file and directory below it but the database."""
    images = strata("images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return images.splitlines() + sorted(
        os.path.join(directory, name) for part in ("blobs", "layers", "chains", "tmp")
        for directory, _, files in os.walk(os.path.join(DAEMON.work, "data", part))
        for name in (".", *files))


class PullTest(unittest.TestCase):
    def setUp(self):
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        self.before = stored()

    def name(self, suffix=":1"):
        return f"{self.registry.address}/spoiled{suffix}"

    def assert_refused(self, *says, suffix=":1"):
        done = subprocess.run([STRATA, "pull", "-q", self.name(suffix)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for part in (self.name(suffix), *says):
            self.assertIn(part, done.stderr)
        self.assert_unchanged()

    def assert_unchanged(self):
        self.assertEqual(stored(), self.before)

    def test_a_good_one_is_pulled(self):
        self.assertEqual(strata("pull", "-q", self.name()), self.name())
        self.assertNotEqual(stored(), self.before)
        strata("rmi", "-f", self.name())
        self.assert_unchanged()

    def test_statuses(self):
        says = {401: "401 Unauthorized", 403: "403 Forbidden", 404: "not found",
                418: "418", 500: "500 Internal Server Error"}
        for status, words in says.items():
            with self.subTest(status=status):
                self.registry.status = status
                self.assert_refused(words, "SPOILED: as the test wants it")

    def test_answers_that_are_no_http(self):
        cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
        for raw in (b"", b"\x00\x7fELF\xff" * 64, cut_short):
            with self.subTest(raw=raw[:8]):
                self.registry.raw = raw
                self.assert_refused(self.registry.address)

    def test_a_manifest_that_is_also_an_index(self):
        self.registry.image.manifest["manifests"] = []
        self.assert_refused("manifest")

    def test_a_manifest_that_is_not_what_was_asked_for(self):
        wanted = digest(b"something else")
        self.assert_refused(wanted, suffix="@" + wanted)

    def test_a_layer_that_is_not_what_the_manifest_says(self):
        image = self.registry.image
        good = image.blobs[image.layer_digest]
        for blob in (good[:-1] + b"x", good[:-1], good + b"x", b"x" * len(good)):
            with self.subTest(blob=len(blob)):
                image.blobs[image.layer_digest] = blob
                self.assert_refused(image.layer_digest)

    def test_a_missing_layer(self):
        del self.registry.image.blobs[self.registry.image.layer_digest]
        self.assert_refused(self.registry.image.layer_digest, "404")

    def test_a_layer_that_escapes(self):
        for name in ("../../escaped", "/../escaped"):
            with self.subTest(name=name):
                self.registry.image = Image(name)
                self.assert_refused(self.registry.image.layer_digest)

    def test_a_slow_one_is_left_with_the_client(self):
        self.registry.dripping = True
        client = subprocess.Popen([STRATA, "pull", "-q", self.name()], stdin=subprocess.DEVNULL)
        self.assertTrue(self.registry.asked.wait(PATIENCE))
        client.send_signal(signal.SIGINT)
        self.assertNotEqual(client.wait(PATIENCE), 0)
        self.assertTrue(self.registry.left.wait(PATIENCE), "the daemon goes on without its client")
        self.assert_unchanged()

    def test_a_silent_one_is_given_up(self):
        self.registry.released.clear()
        self.assert_refused(self.registry.address)


if __name__ == "__main__":
    sys.exit(unittest.main())
