# SPDX-License-Identifier: MIT
"""The reference part of docs/c-api.md, made from the public headers.

python docs/c_api.py           write it
python docs/c_api.py --check   exit 1 where it differs

A comment before a declaration is its documentation. What this does not understand is an error, and
a layout that it does not know is kept as it is, so that no word of a header is lost.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADERS = ROOT / "csrc" / "include" / "fastsock"
PAGE = ROOT / "docs" / "c-api.md"
BEGIN, END = "<!-- c-api:begin -->\n", "<!-- c-api:end -->\n"

# What stands at the first level of a header. The first that matches counts.
TOKEN = re.compile(
    r"""
    (?P<blank>\s+)
    |(?P<comment>/\*(?:.|\n)*?\*/)\n
    |(?P<skipped>\#ifdef\ __cplusplus\n(?:.*\n)*?\#endif\n
                |\#ifndef\ FASTSOCK_\w+_H\n\#define\ .*\n|\#include\ .*\n|\#endif\n)
    |(?P<macros>\#if\ .*\n(?:.*\n)*?\#endif\n|(?:\#define\ .*\n)+)
    |(?P<type>(?:struct|enum)\ \w+(?:;|\ \{\n(?:.*\n)*?\};)\n)
    |(?P<function>FSK_API\ [^;{]+;\n)
    """,
    re.VERBOSE,
)
ARGUMENT = re.compile(r"(\w+) +(in/out|in|out)(?: +(.*))?")
RESULT = re.compile(r"(-E.*?|other)(?:  +(.*))?")
# What is code in a sentence; a name of the library is a link besides. The rest would be markup.
MARKED = re.compile(
    r"""
    (?P<code>(?:(?:struct|enum)\ )?\bfsk_\w+ | -E[A-Z0-9]{2,} | (?<!\S)\*\w+ | \w+->\w+
            | \w+\(\d\) | (?:\w+\.)*\w*_\w+)
    |[\\`*<>|\[\]] | ^(?:[-+#]|\d+[.)])(?=\ )
    """,
    re.VERBOSE | re.MULTILINE,
)


@dataclass
class Entry:
    """A declaration with its comment, or a comment that stands alone and has no code."""

    text: str
    code: str = ""
    heading: str = ""
    names: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the reference part of docs/c-api.md.")
    parser.add_argument("--check", action="store_true", help="only tell whether it would change")
    before = PAGE.read_text(encoding="utf-8")
    after = updated(before)
    if not parser.parse_args(arguments).check:
        PAGE.write_text(after, encoding="utf-8")
    elif after != before:
        print(f"{PAGE.name} differs from the headers; run: python docs/c_api.py")
        return 1
    return 0


def updated(page: str) -> str:
    """The page with the reference of the headers as they are now between its markers."""
    introduction, begin, rest = page.partition(BEGIN)
    _, end, footer = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks the lines {BEGIN.strip()} and {END.strip()}")
    return introduction + begin + reference() + end + footer


def reference() -> str:
    """A table of contents, and a section for each header in the umbrella header's order."""
    umbrella = (HEADERS / "fastsock.h").read_text(encoding="utf-8")
    names = re.findall(r"#include <fastsock/(\w+\.h)>", umbrella)
    headers = {name: list(entries(name)) for name in names}
    everything = [entry for header in headers.values() for entry in header]
    links = {name: anchor(entry.heading) for entry in everything for name in entry.names}
    lines = [block for entry in entries("fastsock.h") for block in blocks(entry.text, links)]
    contents = []
    for name, header in headers.items():
        told = [f"[`{entry.heading}`](#{anchor(entry.heading)})" for entry in header if entry.code]
        contents.append(f"* [{name}](#{anchor(name)}): " + ",\n  ".join(told))
    lines.append("\n".join(contents))
    for name, header in headers.items():
        lines.append(f"## {name}")
        for entry in header:
            if entry.code:
                lines += [f"### `{entry.heading}`", f"```c\n{entry.code}```"]
            lines += blocks(entry.text, links)
    return "\n\n".join(lines) + "\n"


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def entries(header: str) -> Iterator[Entry]:
    """What a header declares and says, in its order."""
    source = (HEADERS / header).read_text(encoding="utf-8")
    position, waiting = 0, None
    while position < len(source):
        token = TOKEN.match(source, position)
        if token is None:
            line = source.count("\n", 0, position) + 1
            raise ValueError(f"{header}:{line}: docs/c_api.py does not know this declaration")
        kind, text, position = token.lastgroup, token[0], token.end()
        if waiting is not None and kind not in ("macros", "type", "function"):
            yield Entry(waiting)
            waiting = None
        if kind == "comment":
            waiting = without_stars(text)
        elif kind == "blank":
            continue
        elif kind != "skipped":
            yield declared(text, waiting or "")
            waiting = None


def without_stars(comment: str) -> str:
    """The lines of a comment, without the licence's."""
    lines = comment.strip().removeprefix("/*").removesuffix("*/").split("\n")
    lines = [re.sub(r"^ \* ?", "", line).rstrip() for line in lines]
    lines[0] = lines[0].removeprefix(" ")
    return "\n".join(line for line in lines if "SPDX-License" not in line).strip("\n")


def declared(code: str, text: str) -> Entry:
    if code.startswith("FSK_API "):
        code = code.removeprefix("FSK_API ").replace("\n" + " " * len("FSK_API "), "\n")
        name = re.search(r"\w+(?=\()", code)
        assert name is not None
        return Entry(text, code, name[0], (name[0],))
    if code.startswith("#"):
        macros = tuple(dict.fromkeys(re.findall(r"#define (\w+)", code)))
        return Entry(text, code, ", ".join(macros), macros)
    heading = re.split(r"[;{]", code)[0].strip()
    # A function may have the name of a structure; the bare name is the function's.
    return Entry(text, code, heading, (heading, *re.findall(r"^    (FSK_\w+)", code, re.MULTILINE)))


def blocks(text: str, links: dict[str, str]) -> Iterator[str]:
    """The paragraphs, tables and lists of a comment as Markdown."""
    # A blank line ends a block, and so does a change between sentences and what is indented.
    for block in re.findall(r"(?:^  .+\n?)+|(?:^(?!  ).+\n?)+", text, re.MULTILINE):
        yield columns(block, links) if block.startswith("  ") else inline(block.strip(), links)


def columns(block: str, links: dict[str, str]) -> str:
    """Arguments as a table, results as a list, anything else as it is."""
    starts = re.split(r"^  (?! )", block, flags=re.MULTILINE)
    rows = [re.sub(r"\n +", " ", row).strip() for row in starts[1:]]
    arguments = [match for match in map(ARGUMENT.fullmatch, rows) if match]
    results = [match for match in map(RESULT.fullmatch, rows) if match]
    if len(arguments) == len(rows):
        lines = ["| argument | direction | meaning |", "| --- | --- | --- |"]
        for name, way, text in (match.groups("") for match in arguments):
            lines.append(f"| `{name}` | {way} | {inline(text, links)} |")
        return "\n".join(lines)
    if len(results) == len(rows):
        told = [[inline(cell, links) for cell in match.groups() if cell] for match in results]
        return "\n".join("* " + ": ".join(result) for result in told)
    return f"```text\n{block.rstrip()}\n```"


def inline(text: str, links: dict[str, str]) -> str:
    """A sentence in which names are code and nothing else is markup by chance."""

    def mark(match: re.Match[str]) -> str:
        name = match["code"]
        if name is None:
            return f"\\{match[0]}"
        bare = name.removeprefix("struct ").removeprefix("enum ")
        known = (name, bare, f"struct {bare}", f"enum {bare}")
        link = next((links[each] for each in known if each in links), None)
        return f"`{name}`" if link is None else f"[`{name}`](#{link})"

    return MARKED.sub(mark, text)


if __name__ == "__main__":
    sys.exit(main())
