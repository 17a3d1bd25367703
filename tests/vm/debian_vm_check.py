"""The machine with Debian's kernel itself: what it shows, and how its ends are told apart."""

import hashlib
import io
import os
import unittest
import unittest.mock

import debian_vm


def run(command, **options):
    out = io.StringIO()
    status = debian_vm.run(command, out=out, **options)
    return status, out.getvalue()


def own_digest():
    with open(__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class DebianVmTest(unittest.TestCase):
    def test_the_command_runs_under_another_kernel(self):
        mark = os.path.join(os.path.dirname(os.path.realpath(__file__)), "mark")
        script = f"""uname -r; echo "$GIVEN"; stat -fc %T . /run/vdb
            sha256sum < {__file__}; echo written > {mark}; cat {mark}; exit 7"""
        status, out = run(["sh", "-c", script], disks=[(64, "ext4"), (200, "btrfs"), (1, None)],
                          environment=["GIVEN=a b"])
        self.assertEqual(status, 7)
        kernel, *rest = out.splitlines()
        self.assertNotEqual(kernel, os.uname().release)
        self.assertEqual([line for line in rest if line],
                         ["a b", "ext2/ext3", "btrfs", own_digest() + "  -", "written"])
        self.assertFalse(os.path.exists(mark))

    def test_a_panic_is_no_status(self):
        with self.assertRaisesRegex(debian_vm.VmError, "(?s)ended before.*Kernel panic"):
            run(["sh", "-c", "echo c > /proc/sysrq-trigger"])

    def test_a_hang_is_no_status(self):
        with self.assertRaisesRegex(debian_vm.VmError, "took more than 5 s"):
            run(["sleep", "1000"], timeout=5)

    def test_what_is_not_there_is_named(self):
        with unittest.mock.patch.object(debian_vm, "KERNEL", "/nonexistent"):
            with self.assertRaisesRegex(debian_vm.VmError, "no kernel in /nonexistent"):
                run(["true"])
        with unittest.mock.patch.dict(os.environ, PATH="/nonexistent"):
            with self.assertRaisesRegex(debian_vm.VmError, "qemu-system-x86_64 is not installed"):
                run(["true"])
        with self.assertRaisesRegex(debian_vm.VmError, "no module nonesuch"):
            run(["true"], modules=["nonesuch"])


if __name__ == "__main__":
    unittest.main()
