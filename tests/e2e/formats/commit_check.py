#!/usr/bin/env python3
"""What a container is, as an image, as a list of changes and as a tar: commit, diff and export, by
our client and by docker's."""

import contextlib
import json
import os
import shutil
import subprocess

from trees import Daemon, expect, expect_same, strata, tree

PATIENCE = 60
APPLETS = ("sh", "cat", "echo", "ls", "sleep", "true", "touch", "ln", "rm", "mv", "mkdir", "chmod",
           "dd", "mknod", "cp")

# Every kind of change, to an image whose files are below /d.
SCRIPT = """set -e
cd /d
echo new > added; echo more >> appended; chmod 600 moded; rm removed
rm -r gone; rm -r remade; mkdir remade; echo only > remade/this
mv moved_dir new_place; mv moved_file other_name
echo changed >> links/one
ln kept_link another; ln -s target symbolic; mknod fifo p
rm typed; mkdir typed; echo in > typed/file
dd if=/dev/zero of=big bs=4096 count=1 seek=100 conv=notrunc 2>/dev/null
mkdir -p deep/er/est; cp appended deep/er/est/copy
"""


def make_tree(root):
    """The image's files."""
    below = os.path.join(root, "d")
    for directory in ("gone/sub", "remade/sub", "moved_dir/sub", "links", "untouched"):
        os.makedirs(os.path.join(below, directory))
    for name in ("appended", "moded", "removed", "gone/sub/file", "remade/old", "remade/sub/x",
                 "moved_dir/file", "moved_dir/sub/file", "moved_file", "kept_link", "typed",
                 "untouched/file", "links/one"):
        with open(os.path.join(below, name), "w", encoding="utf-8") as file:
            file.write(f"content of {name}\n")
    for name in ("links/two", "untouched/three"):
        os.link(os.path.join(below, "links/one"), os.path.join(below, name))
    with open(os.path.join(below, "big"), "wb") as big:
        big.write(os.urandom(3 << 20))
    os.setxattr(os.path.join(below, "appended"), "user.note", b"kept")


def make_image(daemon):
    root = os.path.join(daemon.work, "image")
    os.makedirs(os.path.join(root, "bin"))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(root, "bin", applet))
    make_tree(root)
    archive = os.path.join(daemon.work, "image.tar")
    subprocess.run(["tar", "-C", root, "--xattrs", "--format=pax", "-cf", archive, "."], check=True)
    strata("import", "-q", "-c", "ENV A=image", "-c", 'CMD ["sh"]', archive, "changing")


@contextlib.contextmanager
def mounted(daemon, image):
    target = os.path.join(daemon.work, "mounted")
    os.makedirs(target, exist_ok=True)
    strata("mount", image, target)
    try:
        yield target
    finally:
        strata("umount", target)


def inspect(what, name):
    return json.loads(strata("inspect", "--type", what, name))[0]


def merged(name):
    return inspect("container", name)["GraphDriver"]["Data"]["MergedDir"]


def image_tree(daemon, image):
    with mounted(daemon, image) as root:
        return tree(root)


def without_stubs(found):
    """Without the empty files and directories that every container gets."""
    stubs = (".dockerenv", "dev", "etc", "proc", "sys")
    return {path: entry for path, entry in found.items() if path.split("/")[0] not in stubs}


def docker(*words):
    done = subprocess.run(["docker", "-H", os.environ["STRATA_HOST"], *words], text=True,
                          capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise AssertionError(f"docker {words}: {done.stderr}")
    return done.stdout.strip()


def check_running(daemon):
    """A running container's image, changes and export are what it shows."""
    strata("run", "-d", "--name", "one", "--network", "none", "changing", "sh", "-c",
           SCRIPT + "touch /done; sleep 1000")
    for _ in range(600):
        if os.path.exists(os.path.join(merged("one"), "done")):
            break
        subprocess.run(["sleep", "0.1"], check=True)
    shown = without_stubs(tree(merged("one")))
    expect("the script ran", True, "done" in shown)

    identity = strata("commit", "-m", "said", "-a", "who", "-c", "ENV B=$A", "one", "made:1")
    expect_same("the commit's image", shown, without_stubs(image_tree(daemon, "made:1")))
    image = inspect("image", "made:1")
    expect("its id", image["Id"], identity)
    expect("its environment", ["A=image", "B=image"],
           sorted(v for v in image["Config"]["Env"] if v[:2] in ("A=", "B=")))
    expect("its author", "who", image["Author"])
    expect("its layers", 2, len(image["RootFS"]["Layers"]))
    history = strata("history", "--no-trunc", "--format", "{{.Comment}}", "made:1").split("\n")
    expect("its history", "said", history[0])
    expect("it still runs", "running", inspect("container", "one")["State"]["Status"])

    changes = strata("diff", "one").split("\n")
    expect("docker's diff", changes, docker("diff", "one").split("\n"))
    for line in ("C /d", "A /d/added", "C /d/appended", "C /d/moded", "D /d/removed", "D /d/gone",
                 "C /d/remade", "A /d/remade/this", "D /d/remade/old", "D /d/remade/sub",
                 "D /d/moved_dir", "A /d/new_place", "A /d/new_place/sub/file", "C /d/links/one",
                 "C /d/links/two", "C /d/untouched/three", "C /d/typed", "A /d/typed/file",
                 "A /d/fifo", "C /d/big", "A /d/deep/er/est/copy", "A /done"):
        if line not in changes:
            raise AssertionError(f"diff does not say {line!r}: {changes}")
    for line in changes:
        if line.endswith(("untouched/file", "/bin")):
            raise AssertionError(f"diff says {line!r}")

    # With another program's config, and without a pause.
    docker("commit", "--pause=false", "-c", 'ENTRYPOINT ["cat"]', "one", "made:2")
    expect("docker's commit", image["RootFS"]["Layers"],
           inspect("image", "made:2")["RootFS"]["Layers"])
    expect("an entrypoint takes the command away", (["cat"], None),
           (inspect("image", "made:2")["Config"]["Entrypoint"],
            inspect("image", "made:2")["Config"]["Cmd"]))
    strata("run", "--rm", "--network", "none", "made:1", "cat", "/d/remade/this")
    return shown


def exported_tree(daemon, name, client):
    archive = os.path.join(daemon.work, name + ".tar")
    client("export", "-o", archive, name)
    target = os.path.join(daemon.work, name + ".exported")
    os.makedirs(target)
    subprocess.run(["tar", "-C", target, "--xattrs", "--xattrs-include=*", "--numeric-owner",
                    "-xpf", archive], check=True)
    found = without_stubs(tree(target))
    shutil.rmtree(target)
    return found


def check_export(daemon, shown):
    expect_same("the export", shown, exported_tree(daemon, "one", strata))
    strata("stop", "-t", "0", "one")
    expect_same("docker's export of a stopped one", shown, exported_tree(daemon, "one", docker))
    expect("no mount is left", False, os.path.ismount(merged("one")))
    expect("standard output", 0,
           subprocess.run([os.environ["STRATA_BIN_DIR"] + "/strata", "export", "one"],
                          stdout=subprocess.DEVNULL, check=False).returncode)


def check_stopped(daemon, shown):
    """The same when it does not run, and when nothing was changed."""
    changes = strata("diff", "one")
    strata("commit", "one", "made:3")
    expect_same("the commit of a stopped one", shown, without_stubs(image_tree(daemon, "made:3")))
    expect("it is the same layer", inspect("image", "made:1")["RootFS"]["Layers"],
           inspect("image", "made:3")["RootFS"]["Layers"])
    expect("no mount is left", False, os.path.ismount(merged("one")))
    strata("start", "one")
    expect("diff after a start", changes, strata("diff", "one"))
    strata("rm", "-f", "one")

    strata("create", "--name", "new", "--network", "none", "changing", "true")
    expect("nothing changed", "", strata("diff", "new"))
    expect("no changes for docker", "", docker("diff", "new"))
    strata("commit", "new", "made:4")
    expect("no layer for nothing", inspect("image", "changing")["RootFS"]["Layers"],
           inspect("image", "made:4")["RootFS"]["Layers"])
    strata("rm", "new")


def check_freezing(daemon):
    """A container is held while it is read, and not by a daemon that died meanwhile."""
    strata("run", "-d", "--name", "held", "--network", "none", "changing", "sh", "-c",
           "while :; do echo tick > /tick; done")
    pid = inspect("container", "held")["State"]["Pid"]
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as cgroups:
        lines = [line.rstrip("\n").split(":", 2) for line in cgroups]
    v1 = next((path for _, kind, path in lines if kind == "freezer"), None)
    if v1 is not None:
        state, frozen, thawed = f"/sys/fs/cgroup/freezer{v1}/freezer.state", "FROZEN", "THAWED"
    else:
        v2 = next(path for _, kind, path in lines if kind == "")
        state, frozen, thawed = f"/sys/fs/cgroup{v2}/cgroup.freeze", "1", "0"

    def now():
        with open(state, encoding="utf-8") as file:
            return file.read().strip()

    # It writes all the time: without a pause the file would change while it is read, now and then.
    for number in range(5):
        strata("commit", "held", f"held:{number}")
        expect("it goes on", thawed, now())
    with open(state, "w", encoding="utf-8") as file:
        file.write(frozen)
    daemon.crash()
    expect("the next daemon lets it go", thawed, now())
    strata("rm", "-f", "held")


def check_refusals():
    strata("create", "--name", "idle", "--network", "none", "changing", "true")
    for words in (("commit", "none"), ("commit", "-c", "FROM x", "idle"),
                  ("commit", "idle", "Bad:Name"), ("diff", "none"), ("export", "none"),
                  ("export", "-o", "/nonexistent/file", "idle")):
        strata(*words, check=1)
    strata("rm", "idle")


def main():
    daemon = Daemon()
    try:
        make_image(daemon)
        shown = check_running(daemon)
        check_export(daemon, shown)
        check_stopped(daemon, shown)
        check_freezing(daemon)
        check_refusals()
    finally:
        daemon.stop()


if __name__ == "__main__":
    main()
