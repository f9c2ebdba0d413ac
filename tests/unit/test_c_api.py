# SPDX-License-Identifier: MIT
"""docs/c-api.md says what the public headers say: all of it, and nothing else about them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "csrc" / "include" / "fastsock"
PAGE = ROOT / "docs" / "c-api.md"
COMMENT = re.compile(r"/\*(?:.|\n)*?\*/")


@pytest.fixture(scope="module")
def generator():
    specification = importlib.util.spec_from_file_location("c_api", ROOT / "docs" / "c_api.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["c_api"] = module  # where dataclasses look for it
    specification.loader.exec_module(module)
    yield module
    del sys.modules["c_api"]


def introduction():
    return PAGE.read_text().split("<!-- c-api:begin -->")[0]


def sections():
    """What the page says of each header. The umbrella header's comes first and has no heading."""
    reference = PAGE.read_text().split("<!-- c-api:begin -->")[1]
    umbrella, *others = re.split(r"^## ", reference, flags=re.MULTILINE)
    return {"fastsock.h": umbrella} | {text.split("\n")[0]: text for text in others}


def words(text):
    """The words of a text with their punctuation, without what Markdown and C put around them."""
    text = re.sub(r"\]\(#[\w-]*\)", "", text)
    kept = (re.sub(r"[\\`*|\[\]]", "", word).removesuffix(":") for word in text.split())
    return [word for word in kept if re.search(r"\w", word)]


def lines_lost(comment, section):
    """The lines of a comment that are not in the section, word for word and in their order."""
    said = f" {' '.join(words(section))} "
    lost, position = [], 0
    for line in comment.split("\n"):
        wanted = " ".join(words(line))
        found = said.find(f" {wanted} ", position) if wanted else position
        if found < 0:
            lost.append(line)
        else:
            position = found + len(wanted)
    return lost


def anchors(text):
    headings = re.findall(r"^#{2,3} (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_page_is_up_to_date(generator, capsys):
    assert generator.main(["--check"]) == 0, capsys.readouterr().out


def test_check_of_an_old_page_names_the_remedy_and_mends_nothing(
    generator, tmp_path, monkeypatch, capsys
):
    page = tmp_path / "c-api.md"
    text = PAGE.read_text().replace("fsk_receive_batch", "fsk_receive_many")
    page.write_text(text)
    monkeypatch.setattr(generator, "PAGE", page)
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().out == (
        "c-api.md differs from the headers; run: python docs/c_api.py\n"
    )
    assert page.read_text() == text


def test_writing_leaves_what_is_outside_the_markers(generator):
    before = f"One.\n{generator.BEGIN}old\n{generator.END}Two.\n"
    after = generator.updated(before)
    assert after.startswith(f"One.\n{generator.BEGIN}")
    assert after.endswith(f"{generator.END}Two.\n")
    assert "\nold\n" not in after
    with pytest.raises(ValueError, match="lacks the lines"):
        generator.updated(f"One.\n{generator.BEGIN}")


def test_every_exported_function_has_an_anchor():
    exported = re.findall(r"\b(fsk_\w+);", (ROOT / "csrc/fastsock.map").read_text())
    assert exported
    assert set(exported) - set(anchors(PAGE.read_text())) == set()


def test_anchors_are_distinct_and_every_link_has_one():
    text = PAGE.read_text()
    assert len(anchors(text)) == len(set(anchors(text)))
    assert set(re.findall(r"\]\(#([\w-]*)\)", text)) <= set(anchors(text))


@pytest.mark.parametrize("header", sorted(path.name for path in HEADERS.glob("*.h")))
def test_every_word_of_a_header_comment_is_on_the_page(header):
    source = (HEADERS / header).read_text()
    lost = []
    for comment in COMMENT.findall(source):
        text = re.sub(r"^.*SPDX-License.*\n?", "", comment[2:-2])
        lost += lines_lost(text, sections()[header])
    assert lost == []


@pytest.mark.parametrize("header", sorted(path.name for path in HEADERS.glob("*.h")))
def test_every_declaration_of_a_header_is_on_the_page(header):
    """Whatever the generator does not know: what is left of a header without its frame."""
    code = COMMENT.sub("", (HEADERS / header).read_text())
    frame = r"#ifdef __cplusplus\n(?:.*\n)*?#endif|#ifndef \w+_H\n.*|#include.*|#endif\s*$"
    code = re.sub(rf"^FSK_API |{frame}", "", code, flags=re.MULTILINE)
    section = " ".join(COMMENT.sub("", sections()[header]).split())
    lines = [" ".join(line.split()) for line in code.split("\n")]
    assert [line for line in lines if line not in section] == []


def test_lost_words_are_noticed():
    section = "| `address` | out | port in [`network`](#x) order |\n\n* `-EINVAL`: when it is not"
    assert lines_lost("  address  out  port in network order", section) == []
    assert lines_lost("  -EINVAL  when it is not", section) == []
    assert lines_lost("  address  out  port in host order", section) != []
    assert lines_lost("  -EINVAL  when it is not so", section) != []


def test_layout_that_is_not_known_is_kept_as_it_is(generator):
    comment = "Before.\n\n  one   two\n  three\n\nAfter, -EINVAL and fsk_send and 2 * 3."
    assert list(generator.blocks(comment, {"fsk_send": "fsk_send"})) == [
        "Before.",
        "```text\n  one   two\n  three\n```",
        "After, `-EINVAL` and [`fsk_send`](#fsk_send) and 2 \\* 3.",
    ]


def test_unknown_declaration_is_an_error(generator, tmp_path, monkeypatch):
    (tmp_path / "odd.h").write_text("/* One. */\ntypedef int fsk_odd;\n")
    monkeypatch.setattr(generator, "HEADERS", tmp_path)
    with pytest.raises(ValueError, match=r"odd\.h:2"):
        list(generator.entries("odd.h"))


@pytest.mark.parametrize("number", [0, 1], ids=["datagrams", "server"])
def test_program_of_the_introduction_compiles(number, tmp_path):
    programs = re.findall(r"^```c\n(.*?)^```$", introduction(), re.MULTILINE | re.DOTALL)
    compiler = shutil.which("cc")
    assert len(programs) == 2
    if compiler is None:
        pytest.skip("no cc on PATH")
    program = tmp_path / "program.c"
    program.write_text(programs[number])
    warnings = ["-Wall", "-Wextra", "-Werror"]
    options = ["-fsyntax-only", "-std=c11", "-D_GNU_SOURCE", "-Icsrc/include", *warnings]
    # A sanitizer that is preloaded would look for leaks in the compiler.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [compiler, *options, str(program)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
