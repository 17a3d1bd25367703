"""Sessions with containers as a user has them: terminals, their size, detaching, signals, ends.

Drives the client on real pseudo-terminals against its own stratad. Needs STRATA_BIN_DIR.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import unittest

from harness import PATIENCE, RUN, STRATA, Daemon, strata, until


class Terminal:
    """The client on a pseudo-terminal of its own."""

    def __init__(self, *words, rows=24, columns=80):
        self.seen = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(STRATA, [STRATA, *words])

    def resize(self, rows, columns):
        """As a terminal emulator does: the kernel tells the client with SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read_more(self):
        """False once the client has closed the terminal."""
        if not select.select([self.master], [], [], PATIENCE)[0]:
            raise AssertionError(f"nothing more came after {self.seen!r}")
        try:
            piece = os.read(self.master, 4096)
        except OSError:
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, text):
        while text not in self.seen:
            if not self.read_more():
                raise AssertionError(f"the client ended without {text!r}: {self.seen!r}")

    def status(self):
        """The client's exit status, once it has ended."""
        while self.read_more():
            pass
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def setUpModule():
    global DAEMON
    DAEMON = Daemon()
    unittest.addModuleCleanup(DAEMON.stop)


class SessionTest(unittest.TestCase):
    def keep(self, name, *command, options=()):
        """Starts a container in the background that goes with the test."""
        strata(*RUN, "-d", "--name", name, *options, "box", *command)
        self.remove_afterwards(name)

    def remove_afterwards(self, name):
        command = [STRATA, "rm", "-f", name]
        self.addCleanup(subprocess.run, command, capture_output=True, check=False)

    def state(self, name):
        return strata("inspect", "-f", "{{.State.Status}}", name)

    def exists(self, name):
        return name in strata("ps", "-a", "--format", "{{.Names}}").split()

    # Prints the size, waits for it to change, prints it again.
    WATCH_SIZE = ("sh", "-c", 'stty size; while [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; '
                              'stty size')

    def test_run_has_the_terminals_size_and_follows_it(self):
        terminal = Terminal(*RUN, "-it", "--rm", "box", *self.WATCH_SIZE, rows=33, columns=99)
        terminal.expect("33 99")
        terminal.resize(44, 111)
        terminal.expect("44 111")
        self.assertEqual(terminal.status(), 0)

    def test_exec_has_the_terminals_size_and_follows_it(self):
        self.keep("sized", "sleep", "1000")
        terminal = Terminal("exec", "-it", "sized", *self.WATCH_SIZE, rows=33, columns=99)
        terminal.expect("33 99")
        terminal.resize(44, 111)
        terminal.expect("44 111")
        self.assertEqual(terminal.status(), 0)

    def test_detach_and_attach_again(self):
        terminal = Terminal(*RUN, "-it", "--name", "stays", "box", "cat")
        self.remove_afterwards("stays")
        terminal.type("first\r")
        terminal.expect("first\r\nfirst")
        terminal.type("\x10\x11")
        self.assertEqual(terminal.status(), 0)
        self.assertEqual(self.state("stays"), "running")

        terminal = Terminal("attach", "stays")
        terminal.type("second\r")
        terminal.expect("second\r\nsecond")
        terminal.type("\x04")  # end of file
        self.assertEqual(terminal.status(), 0)
        until(lambda: self.state("stays") == "exited", "cat ends")

    def test_detach_from_exec_with_other_keys(self):
        self.keep("host", "sleep", "1000")
        terminal = Terminal("exec", "-it", "--detach-keys", "ctrl-x,q", "host", "sh", "-c",
                            'echo up; read line; touch "/$line"; sleep 1000')
        terminal.expect("up")
        terminal.type("mark\r")
        until(lambda: subprocess.run([STRATA, "exec", "host", "cat", "/mark"], capture_output=True,
                                     check=False).returncode == 0, "the input arrives")
        terminal.type("\x18q")
        self.assertEqual(terminal.status(), 0)
        self.assertEqual(self.state("host"), "running")

    def test_control_c_reaches_the_program_on_the_terminal(self):
        terminal = Terminal(*RUN, "-it", "--rm", "box", "sh", "-c",
                            'trap "exit 5" INT; echo ready; while :; do sleep 0.1; done')
        terminal.expect("ready")
        terminal.type("\x03")
        self.assertEqual(terminal.status(), 5)

    def start_trap(self, *options):
        """A client without terminal whose container tells signals apart by its exit status."""
        client = subprocess.Popen(
            [STRATA, *RUN, "--rm", *options, "box", "sh", "-c",
             'trap "exit 6" INT; trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(client.stdout.close)
        self.assertEqual(client.stdout.readline(), "ready\n")
        return client

    def test_signals_are_passed_on(self):
        for number, status in ((signal.SIGINT, 6), (signal.SIGTERM, 7)):
            client = self.start_trap()
            client.send_signal(number)
            self.assertEqual(client.wait(PATIENCE), status)

    def test_signals_are_kept_where_the_user_wants_it(self):
        client = self.start_trap("--sig-proxy=false", "--name", "unharmed")
        client.send_signal(signal.SIGINT)
        self.assertEqual(client.wait(PATIENCE), 128 + signal.SIGINT)
        self.assertEqual(self.state("unharmed"), "running")
        strata("rm", "-f", "unharmed")

    def test_a_killed_container_tells_and_goes(self):
        client = self.start_trap("--name", "victim")
        strata("kill", "victim")
        self.assertEqual(client.wait(PATIENCE), 128 + signal.SIGKILL)
        self.assertFalse(self.exists("victim"))

        self.keep("victim", "sleep", "1000", options=("--rm",))
        strata("kill", "victim")
        until(lambda: not self.exists("victim"), "--rm takes a killed container away")

    def test_end_of_input(self):
        self.assertEqual(strata(*RUN, "-i", "--rm", "box", "cat", input="typed"), "typed")
        self.keep("reader", "sleep", "1000")
        self.assertEqual(strata("exec", "-i", "reader", "cat", input="typed"), "typed")
        # Without -i a program finds its input at the end.
        self.assertEqual(strata(*RUN, "--rm", "box", "cat", input="typed"), "")

    def test_exit_statuses_of_exec(self):
        self.keep("target", "sleep", "1000")
        strata("exec", "target", "sh", "-c", "exit 9", check=9)
        strata("exec", "target", "nosuch", check=127)
        strata("exec", "target", "/bin", check=126)
        strata("stop", "-t", "0", "target")
        strata("exec", "target", "true", check=1)

    def test_followed_logs_end_with_the_container(self):
        self.keep("talker", "sh", "-c",
                  'trap "echo last; exit 0" TERM; echo one; while :; do sleep 0.1; done')
        follow = [STRATA, "logs", "-f", "talker"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as logs:
            self.assertEqual(logs.stdout.readline(), "one\n")
            strata("stop", "talker")
            self.assertEqual(logs.stdout.read(), "last\n")
            self.assertEqual(logs.wait(PATIENCE), 0)

    def test_nobody_waits_for_what_is_left_of_a_removed_container(self):
        DAEMON.close_gate()
        self.addCleanup(DAEMON.open_gate)
        self.assertEqual(strata(*RUN, "--rm", "--name", "brief", "box", "echo", "done"), "done")
        self.assertFalse(self.exists("brief"))

    def test_import_prints_the_id_once(self):
        terminal = Terminal("image", "import", DAEMON.archive, "box:again")
        self.assertEqual(terminal.status(), 0)
        self.assertEqual(terminal.seen.split(), [strata("inspect", "-f", "{{.Id}}", "box:again")])


if __name__ == "__main__":
    sys.exit(unittest.main())
