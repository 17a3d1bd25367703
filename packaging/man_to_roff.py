#!/usr/bin/env python3
"""Turns a manual page's Markdown source (docs/man/*.md) into roff, without pandoc.

    man_to_roff.py SOURCE.md OUTPUT

Knows what those pages use: "% TITLE(N) source", headings, paragraphs, definition lists (nested by four
spaces), bullet lists, indented code, **bold**, *italic*, _italic_ and `code`.
"""

import re
import sys


def inline(text: str) -> str:
    text = re.sub(r"\\([\\|*_,:\[\]])", lambda m: "\0%d\0" % ord(m.group(1)), text)
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"\*\*(.+?)\*\*", "\1\\1\3", text)
    text = re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*", "\2\\1\3", text)
    text = re.sub(r"(?<!\w)_([^_\s][^_]*)_(?!\w)", "\2\\1\3", text)
    text = re.sub(r"`([^`]+)`", "\1\\1\3", text)
    text = text.replace("\1", "\\fB").replace("\2", "\\fI").replace("\3", "\\fR")
    text = re.sub("\0(\\d+)\0", lambda m: {92: "\\e"}.get(int(m.group(1)), chr(int(m.group(1)))), text)
    return "\\&" + text if text[:1] in ".'" else text


def block(lines: list[str], out: list[str], depth: int) -> None:
    """Paragraphs, lists and code; a definition's body is a block of its own, four columns in."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("    "):
            out.append(".PP\n.nf\n.RS 4")
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                out.append("\\&" + lines[at][4:].replace("\\", "\\e").replace("-", "\\-"))
                at += 1
            out.append(".RE\n.fi")
        elif re.match(r"[-*] ", line):
            out.append('.IP "\\(bu" 2\n' + inline(line[2:]))
            at += 1
            while at < len(lines) and lines[at].startswith("  "):
                out.append(inline(lines[at].strip()))
                at += 1
        elif at + 1 < len(lines) and lines[at + 1].startswith(":"):
            out.append(".TP\n" + inline(line))
            at += 1
            body = [lines[at][4:]]
            at += 1
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                body.append(lines[at][4:])
                at += 1
            first = 0
            while first < len(body) and body[first].strip():
                out.append(inline(body[first]))
                first += 1
            if any(text.strip() for text in body[first:]):
                out.append(".RS")
                block(body[first:], out, depth + 1)
                out.append(".RE")
        else:
            out.append(".PP")
            while at < len(lines) and lines[at].strip():
                out.append(inline(lines[at]))
                at += 1


def convert(source: str) -> str:
    lines = source.split("\n")
    title = re.match(r"% (\S+?)\((\d)\) (.*)", lines[0])
    if not title:
        raise ValueError("the first line is no '% NAME(SECTION) source'")
    out = [f'.TH "{title.group(1)}" "{title.group(2)}" "" "{title.group(3)}"']
    section: list[str] = []
    for line in lines[1:] + ["# "]:
        heading = re.match(r"(#{1,2}) ?(.*)", line)
        if not heading:
            section.append(line)
            continue
        block(section, out, 0)
        section = []
        if heading.group(2):
            out.append((".SH " if len(heading.group(1)) == 1 else ".SS ") + inline(heading.group(2)))
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        roff = convert(file.read())
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(roff)
