# SPDX-License-Identifier: MIT
"""The command `fastsock listen`, as a process that a plain socket sends to."""

import io
import json
import os
import re
import signal
import socket as stdlib
import warnings
from urllib.parse import unquote, urlsplit

import pytest

import fastsock
from fastsock import cli
from fastsock.command.ending import ExitCode
from fastsock.command.pcap import PcapReader
from fastsock.command.printing import Arrival, as_dump
from unit.commands import started

HOSTILE = b"\x1b[2J\xff\r\n\xe2\x80\xae\x00 end"
HOSTILE_SHOWN = r"\x1b[2J\xff\r\n\u202e\x00 end"
NOTHING_LOST = "lost: 0 by the kernel, 0 by the ring; cut: 0; unread: 0\n"


@pytest.fixture
def listen(closing):
    """Return listen(*arguments): the process and a plain socket that is connected to it."""

    def listen(address, *arguments, to="127.0.0.1"):
        command = closing(started("listen", address, *arguments))
        url = urlsplit(command.address())
        if url.scheme == "unix":
            sender = closing(stdlib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM))
            sender.connect(unquote(url.path))
        else:
            family = stdlib.AF_INET6 if ":" in to else stdlib.AF_INET
            sender = closing(stdlib.socket(family, stdlib.SOCK_DGRAM))
            sender.connect((to, url.port))
        return command, sender

    return listen


def name_of(sock):
    host, port = sock.getsockname()[:2]
    return f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"


def test_listen_shows_text_escaped_and_ends_after_count(listen):
    command, sender = listen("udp://127.0.0.1:0", "--count", 3, "--interval", 0)
    sender.send("приём".encode())
    assert command.output() == f"{name_of(sender)} приём"
    sender.send(HOSTILE)
    sender.send(b"")
    code, out, err = command.finish()
    assert code == ExitCode.OK
    assert out == f"{name_of(sender)} {HOSTILE_SHOWN}\n{name_of(sender)} \n"
    assert re.fullmatch(
        r"received 3 messages, 25 bytes in \d+\.\d{3} s(, [\d,]+/s, [\d.]+ k?B/s)?; "
        + re.escape(NOTHING_LOST),
        err,
    )


@pytest.mark.parametrize(
    ("address", "to", "prefix"),
    [
        ("udp://127.0.0.1:0", "127.0.0.1", ""),
        ("udp://[::]:0", "::1", ""),
        ("udp://[::]:0", "127.0.0.1", "::ffff:"),
    ],
    ids=["ipv4", "ipv6", "dual_stack"],
)
def test_listen_json_gives_each_message_and_the_summary(listen, address, to, prefix):
    command, sender = listen(address, "--json", "--count", 2, "--no-gro", to=to)
    for message in (HOSTILE, b"\0" * 9000):
        sender.send(message)
    code, out, _ = command.finish()
    assert code == ExitCode.OK
    assert out.isascii()
    first, second, last = map(json.loads, out.splitlines())
    port = sender.getpeername()[1]
    shown = f"[{prefix}{to}]" if ":" in prefix + to else to
    assert first.pop("time_ns") <= second.pop("time_ns")
    assert first == {
        "source": f"udp://{shown}:{sender.getsockname()[1]}",
        "destination": f"udp://{shown}:{port}",
        "length": len(HOSTILE),
        "data": HOSTILE.hex(),
    }
    assert bytes.fromhex(second["data"]) == b"\0" * 9000
    summary = last.pop("summary")
    assert last == {}
    assert summary.pop("seconds") >= 0
    del summary["rate"]
    assert summary == {
        "messages": 2,
        "bytes": len(HOSTILE) + 9000,
        "kernel_drops": 0,
        "kernel_drops_exact": True,
        "ring_drops": 0,
        "truncated": 0,
        "unread": 0,
        "interrupted": False,
    }


def test_listen_hex_shows_a_dump(listen):
    command, sender = listen("udp://127.0.0.1:0", "--hex", "--count", 1)
    sender.send(bytes(range(0x58, 0x6A)))
    out = command.finish()[1].splitlines()
    peer = re.escape(f"{name_of(sender)} > udp://127.0.0.1:{sender.getpeername()[1]}")
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{9}} {peer} 18 bytes", out[0])
    assert out[1:] == [
        "0000  58 59 5a 5b 5c 5d 5e 5f 60 61 62 63 64 65 66 67  XYZ[\\]^_`abcdefg",
        "0010  68 69" + " " * 44 + "hi",
    ]


def test_listen_on_a_path_counts_quietly_and_removes_it(listen, tmp_path):
    path = tmp_path / "with space.sock"
    command, sender = listen(path, "--quiet", "--count", 2, "--interval", 0)
    sender.send(b"one")
    sender.send(b"three")
    code, out, err = command.finish()
    assert (code, out) == (ExitCode.OK, "")
    assert err.startswith("received 2 messages, 8 bytes in ")
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_listen_ended_by_a_signal_sums_up_and_dies_of_it(listen, number):
    command, sender = listen("udp://127.0.0.1:0", "--json", "--interval", 0)
    sender.send(b"x")
    command.output()
    code, out, err = command.stop(number)
    assert code == -number
    assert json.loads(out)["summary"]["interrupted"] is True
    assert err.startswith("received 1 messages, 1 bytes in 0.000 s; lost: 0")


def test_listen_in_a_pipe_writes_a_line_of_counters_each_interval(listen):
    command, sender = listen("udp://127.0.0.1:0", "--quiet", "--interval", 0.01)
    sender.send(b"12345")
    lines = [command.line(command.process.stderr)]
    while not lines[-1].startswith("1 messages"):
        lines.append(command.line(command.process.stderr))
    for line in lines:
        assert re.fullmatch(
            r"[01] messages, [05] B, \d+/s, [\d.]+ k?B/s; "
            r"lost: 0 by the kernel, 0 by the ring; cut: 0",
            line,
        )
    assert command.stop()[0] == -signal.SIGINT


def test_listen_whose_reader_has_gone_dies_of_sigpipe_in_silence(listen, tmp_path):
    command, sender = listen(tmp_path / "x.sock", "--interval", 0)
    command.process.stdout.close()
    sender.send(b"x")
    assert command.process.wait(10) == -signal.SIGPIPE
    assert command.process.stderr.read() == b""
    assert not (tmp_path / "x.sock").exists()


def test_listen_tells_what_was_lost_by_its_exit_code(listen, wait_until):
    command, sender = listen(
        "udp://127.0.0.1:0", "--json", "--no-gro", "--receive-buffer", "4K", "--count", 1
    )
    command.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: command.state() == "T")
    for _ in range(200):
        sender.send(b"x")
    command.process.send_signal(signal.SIGCONT)
    code, out, err = command.finish()
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert code == ExitCode.LOST
    assert summary["messages"] == 1
    assert summary["kernel_drops_exact"] is True
    assert summary["messages"] + summary["unread"] + summary["kernel_drops"] == 200
    assert f"lost: {summary['kernel_drops']} by the kernel" in err


def test_listen_writes_a_pcap_file_of_what_came(listen, tmp_path):
    path = tmp_path / "x.pcap"
    command, sender = listen("udp://[::]:0", "--write", path, "--count", 3, to="127.0.0.1")
    messages = [b"odd", b"", HOSTILE]
    for message in messages:
        sender.send(message)
    code, out, _ = command.finish()
    assert (code, out) == (ExitCode.OK, "")
    with open(path, "rb") as file:
        reader = PcapReader(file)
        datagrams = list(reader)
    assert reader.link_type == 101
    assert [datagram.payload for datagram in datagrams] == messages
    # It came by IPv4, so that is what the packet is.
    ends = (sender.getsockname(), sender.getpeername())
    assert {datagram[1:3] for datagram in datagrams} == {ends}
    times = [datagram.timestamp_ns for datagram in datagrams]
    assert times == sorted(times)
    assert len(set(times)) == 3


def test_listen_writes_a_pcap_file_into_a_pipe_as_messages_come(listen):
    command, sender = listen("udp://127.0.0.1:0", "--write", "-")
    sender.send(b"first")
    pipe = command.process.stdout
    data = b""
    while len(data) < 24 + 16 + 28 + 5:
        data += pipe.read(100)
    assert [datagram.payload for datagram in PcapReader(io.BytesIO(data))] == [b"first"]
    assert command.stop()[:2] == (-signal.SIGINT, "")


@pytest.mark.parametrize("form", ["{}", "unix://{}"], ids=["path", "url"])
def test_listen_refuses_to_write_unix_datagrams_before_it_opens_anything(form, tmp_path, capsys):
    path, file = tmp_path / "x.sock", tmp_path / "x.pcap"
    with pytest.raises(SystemExit) as caught:
        cli.main(["listen", form.format(path), "--write", str(file)])
    assert caught.value.code == ExitCode.USAGE
    told = "fastsock listen: error: --write: Unix datagrams have no link type in pcap files\n"
    assert capsys.readouterr().err == told
    assert os.listdir(tmp_path) == []


def test_listen_on_a_taken_port_tells_it(closing, capsys):
    other = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    other.bind(("127.0.0.1", 0))
    assert cli.main(["listen", name_of(other)]) == ExitCode.FAILED
    told = f"fastsock: Address already in use: {name_of(other)}\n"
    assert capsys.readouterr() == ("", told)


def test_warning_of_a_receiver_is_a_line_on_stderr(monkeypatch, capsys):
    def refused(*arguments, **keywords):
        warnings.warn("too little", RuntimeWarning, stacklevel=1)
        raise OSError("no")

    monkeypatch.setattr(fastsock, "Receiver", refused)
    assert cli.main(["listen", "udp://127.0.0.1:0"]) == ExitCode.FAILED
    assert capsys.readouterr() == ("", "warning: too little\nfastsock: no\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x.sock", "--shards", "2"], "several shards need UDP"),
        (["udp://127.0.0.1:0", "--group", "127.0.0.1"], "127.0.0.1"),
    ],
    ids=["shards", "group"],
)
def test_listen_passes_on_what_a_receiver_refuses(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["listen", *arguments]) == ExitCode.USAGE
    assert told in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_listen_joins_a_group_from_one_source(listen, closing):
    command, other = listen("udp://:0", "--group", "239.7.7.7%lo@127.0.0.1", "--count", 1)
    port = other.getpeername()[1]
    sender = closing(stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM))
    sender.bind(("127.0.0.1", 0))
    sender.setsockopt(stdlib.IPPROTO_IP, stdlib.IP_MULTICAST_IF, stdlib.inet_aton("127.0.0.1"))
    sender.sendto(b"to all", ("239.7.7.7", port))
    assert command.finish()[:2] == (ExitCode.OK, f"{name_of(sender)} to all\n")


class Untold:
    """A message of a system that tells neither time nor destination."""

    address = ("::ffff:192.0.2.1", 5, 0, 0)

    def bytes(self):
        return b""


def test_message_whose_way_is_untold_has_the_next_best(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 5)
    arrival = Arrival(Untold(), ("::", 7, 0, 0), False)
    assert arrival.time_ns == 5
    assert arrival.destination == ("::ffff:0.0.0.0", 7, 0, 0)
    assert as_dump(arrival).endswith(
        ".000000005 udp://[::ffff:192.0.2.1]:5 > udp://[::ffff:0.0.0.0]:7 0 bytes\n"
    )
