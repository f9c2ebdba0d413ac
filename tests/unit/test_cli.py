# SPDX-License-Identifier: MIT
"""The command line: usage, exit codes, and how a command ends."""

import os
import re
import signal
import socket as stdlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastsock
from fastsock import cli
from fastsock.command import doctor, ending
from fastsock.command.console import Console, quantity, url_of
from fastsock.command.ending import ExitCode
from unit.commands import started

pytestmark = pytest.mark.one_engine

SOURCES = Path(fastsock.__file__).parent


@pytest.mark.parametrize("command", [[], ["listen"], ["send"], ["doctor"]], ids=str)
def test_help_lists_every_exit_code_once(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == ExitCode.OK
    listed = re.findall(r"^  (\d+)  ", capsys.readouterr().out, re.MULTILINE)
    signals = [128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
    assert sorted(map(int, listed)) == sorted([*ExitCode, *signals])


def test_exit_codes_have_one_name_and_one_meaning_each():
    # An alias would be a member of this that iteration leaves out.
    assert len(ExitCode.__members__) == len({int(code) for code in ExitCode})
    assert set(ending.MEANINGS) == set(ExitCode)
    assert len(set(ending.MEANINGS.values())) == len(ExitCode)
    assert int(ExitCode.USAGE) == 2  # what argparse ends with


@pytest.mark.parametrize(
    "file", [SOURCES / "cli.py", *sorted(SOURCES.glob("command/*.py"))], ids=lambda file: file.stem
)
def test_exit_codes_are_named_where_they_are_used(file):
    text = file.read_text()
    assert re.findall(r"\bexit\(\d|code = \d|SystemExit", text) == []


def test_console_script_and_module_are_the_same_command():
    script = Path(sys.executable).with_name("fastsock")
    expected = f"fastsock {fastsock.__version__}\n"
    for command in ([str(script)], [sys.executable, "-m", "fastsock"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["listen"], "the following arguments are required: ADDRESS"),
        (["listen", "127.0.0.1:80"], "write udp://127.0.0.1:80, or ./127.0.0.1:80 for a Unix"),
        (["listen", "tcp://h:1"], "this takes datagrams: udp://HOST:PORT or unix://"),
        (["listen", "x", "--hex", "--json"], "not allowed with argument"),
        (["listen", "udp://:0", "--hex", "--write", "x"], "--write shows no messages"),
        (["listen", "udp://:0", "--json", "--write", "-"], "--write shows no messages"),
        (["listen", "x", "--cou", "1"], "unrecognized arguments: --cou"),
        (["listen", "x", "--count", "0"], "'0' is not a whole number from 1 up"),
        (["listen", "x", "--shards", "x"], "'x' is not a whole number from 1 up"),
        (["listen", "x", "--interval", "-1"], "'-1' is not a number from 0 up"),
        (["listen", "x", "--interval", "nan"], "'nan' is not a number from 0 up"),
        (["listen", "x", "--receive-buffer", "64X"], "'64X' is not a number of bytes"),
        (["send", "x", "--rate", "0"], "'0' is not a number above 0"),
        (["send", "x", "--rate", "inf"], "'inf' is not a number above 0"),
        (["send", "x", "--size", "65528"], "'65528' is not a number of bytes from 0 to 65527"),
        (["send", "x", "--rate", "1", "--speed", "1", "--file", "f"], "not allowed with argument"),
        (["send", "x", "--speed", "1"], "--speed is for the replay of a --file without --size"),
        (["send", "x", "--speed", "1", "--file", "f", "--size", "1"], "--speed is for the replay"),
        (["send", "x", "--file", "f", "--size", "0"], "--size 0 cuts nothing from a file"),
        (["send", "x", "--bind", "udp://:0"], "--bind takes an address of the same family"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two_and_tells_why(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "understood"), [("1", 1), ("64K", 65536), ("4m", 4 << 20), ("1G", 1 << 30)]
)
def test_sizes_may_have_a_unit(given, understood):
    options = cli._parser().parse_args(["listen", "x", "--receive-buffer", given])
    assert options.receive_buffer == understood


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("239.1.2.3", ("239.1.2.3", None, None)),
        ("239.1.2.3%eth0", ("239.1.2.3", "eth0", None)),
        ("ff15::1@2001:db8::1", ("ff15::1", None, "2001:db8::1")),
        ("ff15::1%eth0@2001:db8::1", ("ff15::1", "eth0", "2001:db8::1")),
    ],
)
def test_groups_may_have_an_interface_and_a_source(given, understood):
    options = cli._parser().parse_args(["listen", "x", "--group", given, "--group", "ff15::2"])
    assert options.group == [understood, ("ff15::2", None, None)]


def test_host_that_is_not_known_fails(monkeypatch, capsys):
    def unknown(*arguments, **keywords):
        raise stdlib.gaierror(stdlib.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(stdlib, "getaddrinfo", unknown)
    assert cli.main(["listen", "udp://no\x1b.invalid:1"]) == ExitCode.FAILED
    told = "fastsock: udp://no\\x1b.invalid:1: Name or service not known\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(("told", "code"), [(0, ExitCode.OK), (1, ExitCode.FOUND)])
def test_doctor_ends_with_a_code_of_its_own(told, code, monkeypatch, capsys):
    def write(stream):
        stream.write("examined\n")
        return told

    monkeypatch.setattr(doctor, "write", write)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().out == "examined\n"


def test_ctrl_c_before_a_command_begins_ends_by_the_signal(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(cli, "_parser", interrupt)
    monkeypatch.setattr(cli, "end_by", lambda number: ended.append(number) or 7)
    assert cli.main(["listen", "x"]) == 7
    assert ended == [signal.SIGINT]


def test_process_that_the_kernel_spares_ends_with_the_code_of_shells(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    try:
        assert ending.end_by(signal.SIGTERM) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert killed == [(os.getpid(), signal.SIGTERM)]


def test_signal_that_was_ignored_stays_so(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ending.Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stopping.wait(timeout=0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_signal_ends_a_wait_and_the_next_one_the_process(no_descriptor_leak):
    before = [signal.getsignal(number) for number in ending.SIGNALS]
    with ending.Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        for timeout in (0, None):
            with pytest.raises(ending.Interrupted):
                stopping.wait(timeout=timeout)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert stopping.number == signal.SIGTERM
    assert [signal.getsignal(number) for number in ending.SIGNALS] == before


def test_command_whose_caller_closed_its_streams_works(tmp_path):
    path = tmp_path / "x.sock"
    with stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(5)
        subprocess.run(
            f"exec {sys.executable} -m fastsock send {path} --size 3 --count 1 >&- 2>&-",
            shell=True,
            check=True,
        )
        assert receiver.recv(10) == bytes(3)


def test_module_without_a_terminal_or_anything_to_do_ends():
    with started("send", "udp://127.0.0.1:9") as command:
        code, out, err = command.finish(b"")
    assert (code, out) == (ExitCode.OK, "")
    assert err == "sent 0 messages, 0 bytes in 0.000 s; refused: 0; too long: 0\n"


class Terminal:
    """A stream that is one."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def fileno(self):
        raise OSError

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_live_line_on_a_terminal_is_rewritten_in_place_and_never_wraps():
    terminal = Terminal()
    console = Console(terminal)
    console.live("first")
    console.live("s" * 200)
    console.clear()
    console.clear()
    console.note("end")
    clear = "\r\x1b[K"
    assert terminal.text == f"{clear}first{clear}{'s' * 79}{clear}end\n"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.00 MB"),
        (1.5e9, "1.50 GB"),
        (1.5e15, "1,500.00 TB"),
    ],
)
def test_quantity_has_three_digits(octets, text):
    assert quantity(octets) == text


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 5), "udp://127.0.0.1:5"),
        (("::1", 5, 0, 0), "udp://[::1]:5"),
        ("/x\x1b", "unix:///x%1B"),
        (b"\0name", "unix://%00name"),
        (None, None),
        ("", None),
    ],
)
def test_url_of_an_address_is_what_send_takes(address, url):
    assert url_of(address) == url
