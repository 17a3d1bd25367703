#!/usr/bin/env python3
"""The lint's own test: in a small tree that is clean, each kind of fault is found where it is put.

    strata_lint_check.py PATH_OF_STRATA_LINT
"""

import importlib.util
import os
import sys
import tempfile
import unittest

LINT_PATH = sys.argv.pop(1)
SPEC = importlib.util.spec_from_file_location("strata_lint", LINT_PATH)
LINT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(LINT)

CLEAN = {
    "base/error.h": "// Errors.\n#pragma once\n#include <string>\n",
    "layerstore/index/index.h": '// The index.\n#pragma once\n#include "base/error.h"\n',
    "layerstore/blob/blob.h": "// Blobs.\n#pragma once\n",
    "fusefs/union/engine.h": '// The engine.\n#pragma once\n#include "layerstore/index/index.h"\n',
    "fusefs/union/engine.cc": '#include "fusefs/union/engine.h"\n',
    "fusefs/control/control.h": "// Control.\n#pragma once\n",
    "fusefs/daemon/main.cc": '#include "fusefs/union/engine.h"\n#include "fusefs/control/control.h"\n',
    "manager/api/api.cc": '#include "fusefs/control/control.h"\n#include "layerstore/blob/blob.h"\n',
    "tests/unit/a_test.cc": '#include "fusefs/union/engine.h"\n',
    "tests/unit/CMakeLists.txt": "strata_test(a_test SOURCES a_test.cc)\n",
}


class StrataLint(unittest.TestCase):
    def findings(self, rule, **changes):
        """(path, line) of each finding of a rule in the clean tree with `changes` made to it."""
        files = dict(CLEAN)
        files.update({path: text for path, text in changes.get("files", {}).items()})
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                target = os.path.join(root, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "w", encoding="utf-8") as file:
                    file.write(text)
            return [(f.path, f.line) for f in LINT.RULES[rule](LINT.Tree(root))]

    def test_clean_tree_has_no_findings(self):
        for rule in LINT.RULES:
            self.assertEqual(self.findings(rule), [], rule)

    def check_arrow(self, path, target):
        text = '// About.\n#pragma once\n\n#include "%s"\n' % target
        self.assertEqual(self.findings("arrows", files={path: text}), [(path, 4)], (path, target))

    def test_forbidden_includes(self):
        self.check_arrow("base/bad.h", "layerstore/blob/blob.h")
        self.check_arrow("layerstore/gc/bad.h", "fusefs/union/engine.h")
        self.check_arrow("fusefs/union/bad.h", "layerstore/blob/blob.h")
        self.check_arrow("fusefs/union/bad.h", "fusefs/control/control.h")
        self.check_arrow("fusefs/transport/bad.h", "fusefs/union/engine.h")
        self.check_arrow("fusefs/frontend/bad.h", "fusefs/control/control.h")
        self.check_arrow("manager/cli/bad.h", "fusefs/union/engine.h")
        self.check_arrow("manager/cli/bad.h", "tests/unit/a_test.cc")

    def test_include_that_is_not_rooted(self):
        self.check_arrow("layerstore/index/bad.h", "index.h")

    def test_include_in_angle_brackets(self):
        text = "#include <fusefs/union/engine.h>\n"
        self.assertEqual(
            self.findings("arrows", files={"manager/cli/a.cc": text}), [("manager/cli/a.cc", 1)]
        )

    def test_folder_outside_the_design(self):
        text = '#include "base/error.h"\n'
        self.assertEqual(self.findings("arrows", files={"fusefs/x/a.cc": text}), [("fusefs/x/a.cc", 1)])

    def test_unlisted_test(self):
        files = {"tests/unit/b_test.cc": "\n", "tests/unit/CMakeLists.txt": "a_test.cc # b_test.cc\n"}
        self.assertEqual(self.findings("tests-listed", files=files), [("tests/unit/b_test.cc", 1)])
        files["tests/unit/CMakeLists.txt"] = "a_test.cc ab_test.cc\n"
        self.assertEqual(self.findings("tests-listed", files=files), [("tests/unit/b_test.cc", 1)])

    def test_tests_listed_by_a_loop(self):
        files = {
            "tests/unit/b_test.cc": "\n",
            "tests/unit/c_test.cc": "\n",
            "tests/unit/CMakeLists.txt": "foreach(part a b)\n  strata_test(${part}_test SOURCES ${part}_test.cc)\n",
        }
        self.assertEqual(self.findings("tests-listed", files=files), [("tests/unit/c_test.cc", 1)])

    def test_markers(self):
        word = "TO" + "DO"
        text = f"// {word}: later\n// {word}(#12): later\nmkdtemp(XXXXXX);\n"
        self.assertEqual(self.findings("markers", files={"base/a.cc": text}), [("base/a.cc", 1)])

    def test_calls(self):
        def found(line, path="manager/api/a.cc"):
            return self.findings("calls", files={path: line + "\n"}) == [(path, 1)]

        self.assertTrue(found("(void)Remove(path);"))
        self.assertTrue(found("(void)store->Remove(path);"))
        self.assertTrue(found("  ::close(fd);"))
        self.assertTrue(found("close(fd);"))
        self.assertTrue(found("int fd = open(path, O_RDONLY);"))
        self.assertTrue(found("std::mutex mu_;"))
        self.assertTrue(found("using namespace std;"))
        self.assertTrue(found('system("true");'))

        local = "const auto open = [&] { return 1; };\nopen();\n::open(path, 0);\n"
        self.assertEqual(
            self.findings("calls", files={"manager/api/a.cc": local}), [("manager/api/a.cc", 3)]
        )

        self.assertFalse(found("(void)unused;"))
        self.assertFalse(found("stream.close();"))
        self.assertFalse(found("// then close(fd)"))
        self.assertFalse(found('Log("close(fd)");'))
        self.assertFalse(found('auto s = R"(close(1))";'))
        self.assertFalse(found("close(fd);  // lint: raw-close: between fork and exec"))
        self.assertFalse(found("::close(fd);", path="base/unique_fd.cc"))

    def test_headers(self):
        self.assertEqual(self.findings("headers", files={"base/a.h": "#pragma once\n"}), [("base/a.h", 1)])
        self.assertEqual(self.findings("headers", files={"base/a.h": "// About.\n"}), [("base/a.h", 1)])


if __name__ == "__main__":
    unittest.main()
