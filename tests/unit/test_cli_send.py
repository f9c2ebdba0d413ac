# SPDX-License-Identifier: MIT
"""The command `fastsock send`: what a plain socket gets of it, and what it says of that."""

import json
import os
import select
import signal
import socket as stdlib

import pytest

from fastsock import cli
from fastsock.command.ending import ExitCode
from fastsock.command.pcap import PcapReader, PcapWriter
from unit.commands import started

SOURCE, DESTINATION = ("192.0.2.1", 5000), ("192.0.2.2", 6000)


@pytest.fixture
def receiver(closing):
    """A UDP socket, whose `url` is its address."""
    return closing(Receiver(stdlib.AF_INET, ("127.0.0.1", 0)))


@pytest.fixture
def unix_receiver(closing, tmp_path):
    return closing(Receiver(stdlib.AF_UNIX, str(tmp_path / "receiver.sock")))


class Receiver(stdlib.socket):
    def __init__(self, family, address):
        super().__init__(family, stdlib.SOCK_DGRAM)
        self.bind(address)
        self.settimeout(5)
        name = self.getsockname()
        self.url = name if family == stdlib.AF_UNIX else "udp://{}:{}".format(*name)

    def take(self, count):
        """The next messages; nothing may wait after them."""
        messages = [self.recv(65536) for _ in range(count)]
        assert select.select([self], (), (), 0)[0] == []
        return messages


def capture(path, *times_ns):
    """A pcap file of datagrams at these times, whose payload is their number."""
    with open(path, "wb") as file:
        writer = PcapWriter(file)
        for number, time_ns in enumerate(times_ns):
            writer.write(time_ns, SOURCE, DESTINATION, b"%d" % number)
    return str(path)


def test_send_numbers_its_datagrams_and_sums_up(receiver, capsys):
    code = cli.main(["send", receiver.url, "--size", "10", "--count", "3", "--json"])
    assert code == ExitCode.OK
    assert receiver.take(3) == [number.to_bytes(8, "big") + bytes(2) for number in range(3)]
    out, err = capsys.readouterr()
    summary = json.loads(out)["summary"]
    assert summary.pop("seconds") >= 0
    assert summary.pop("rate") > 0
    assert summary == {
        "messages": 3,
        "bytes": 30,
        "refused": 0,
        "too_long": 0,
        "interrupted": False,
    }
    assert err.startswith("sent 3 messages, 30 bytes in 0.")


def test_send_cuts_a_file_into_datagrams(receiver, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    assert cli.main(["send", receiver.url, "--file", str(path), "--size", "30"]) == ExitCode.OK
    assert receiver.take(4) == [bytes(range(at, min(at + 30, 100))) for at in range(0, 100, 30)]


def test_send_ends_after_count(receiver, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    arguments = ["--file", str(path), "--size", "30", "--count", "2"]
    assert cli.main(["send", receiver.url, *arguments]) == ExitCode.OK
    assert receiver.take(2) == [bytes(30)] * 2


def test_send_binds_before_it_sends(unix_receiver, tmp_path):
    local = tmp_path / "local.sock"
    arguments = ["--size", "1", "--count", "1", "--bind", str(local)]
    assert cli.main(["send", unix_receiver.url, *arguments]) == ExitCode.OK
    assert unix_receiver.recvfrom(10) == (b"\0", str(local))
    assert not local.exists()


def test_send_sends_lines_as_they_come(receiver):
    with started("send", receiver.url) as command:
        command.process.stdin.write(b"first\n\nthi")
        assert receiver.take(2) == [b"first", b""]
        command.process.stdin.write(b"rd\nlast")
        assert receiver.take(1) == [b"third"]
        code, _, err = command.finish()  # which closes stdin
        assert receiver.take(1) == [b"last"]
    assert code == ExitCode.OK
    assert err.startswith("sent 4 messages, 14 bytes in ")


def test_send_ended_by_a_signal_sums_up_and_dies_of_it(receiver):
    with started("send", receiver.url, "--json") as command:
        command.process.stdin.write(b"first\n")
        assert receiver.take(1) == [b"first"]
        code, out, err = command.stop()
    assert code == -signal.SIGINT
    assert json.loads(out)["summary"]["interrupted"] is True
    assert err.startswith("sent 1 messages, 5 bytes in ")


def test_send_waits_for_a_full_queue_and_loses_nothing(unix_receiver):
    with started("send", unix_receiver.url, "--size", 8, "--count", 3000) as command:
        numbers = [int.from_bytes(unix_receiver.recv(9), "big") for _ in range(3000)]
        code, _, err = command.finish()
    assert numbers == list(range(3000))
    assert code == ExitCode.OK
    assert err.startswith("sent 3,000 messages, 24,000 bytes")


def test_signal_ends_the_wait_for_a_full_queue(unix_receiver, wait_until):
    with started("send", unix_receiver.url, "--size", 8, "--json") as command:
        assert unix_receiver.recv(9, stdlib.MSG_PEEK) == bytes(8)
        wait_until(lambda: command.state() == "S")
        code, out, _ = command.stop()
    assert code == -signal.SIGINT
    sent = json.loads(out)["summary"]["messages"]
    assert unix_receiver.take(sent)[-1] == (sent - 1).to_bytes(8, "big")


@pytest.mark.parametrize(("count", "refused"), [(1, {1}), (2, {1, 2})], ids=["last", "others"])
def test_send_to_nobody_counts_what_is_refused(count, refused, capsys):
    with Receiver(stdlib.AF_INET, ("127.0.0.1", 0)) as gone:
        url = gone.url
    # Each by itself; of those that come together the kernel keeps one refusal.
    arguments = ["--size", "1", "--count", str(count), "--rate", "1000", "--json"]
    assert cli.main(["send", url, *arguments]) == ExitCode.LOST
    out, err = capsys.readouterr()
    summary = json.loads(out)["summary"]
    assert summary["messages"] == count
    assert summary["refused"] in refused
    assert f"refused: {summary['refused']}" in err


def test_send_to_a_path_where_nobody_is_fails(tmp_path, capsys):
    path = tmp_path / "nobody"
    assert cli.main(["send", str(path), "--size", "1"]) == ExitCode.FAILED
    told = f"fastsock: unix://{path}: No such file or directory\n"
    assert capsys.readouterr() == ("", told)


def test_receiver_on_a_path_that_goes_away_ends_it(unix_receiver):
    with started("send", unix_receiver.url) as command:
        command.process.stdin.write(b"1\n")
        assert unix_receiver.take(1) == [b"1"]
        unix_receiver.close()
        code, _, err = command.finish(b"2\n")
    assert code == ExitCode.FAILED
    assert err.startswith("sent 1 messages, 1 bytes")
    assert err.endswith(f"fastsock: unix://{unix_receiver.url}: Connection refused\n")


def test_send_passes_over_and_counts_what_is_too_long(receiver, capsys):
    code = cli.main(["send", receiver.url, "--size", "65508", "--count", "2"])
    assert code == ExitCode.LOST
    assert "sent 0 messages, 0 bytes in 0.000 s; refused: 0; too long: 2" in capsys.readouterr().err


def test_replay_sends_the_payloads_of_a_capture(receiver, tmp_path, capsys):
    path = capture(tmp_path / "x.pcap", 5 * 10**9, 5 * 10**9 + 10**6, 4 * 10**9)
    assert cli.main(["send", receiver.url, "--file", path]) == ExitCode.OK
    assert receiver.take(3) == [b"0", b"1", b"2"]
    assert capsys.readouterr().err.endswith(
        "; skipped: 0 fragments, 0 others, 0 cut, 0 malformed\n"
    )


def test_replay_at_speed_zero_waits_for_nothing(receiver, tmp_path):
    path = capture(tmp_path / "x.pcap", 0, 10**18)
    assert cli.main(["send", receiver.url, "--file", path, "--speed", "0"]) == ExitCode.OK
    assert receiver.take(2) == [b"0", b"1"]


def test_replay_at_a_rate_leaves_the_times_of_the_capture(receiver, tmp_path):
    path = capture(tmp_path / "x.pcap", 0, 10**18)
    assert cli.main(["send", receiver.url, "--file", path, "--rate", "1e6"]) == ExitCode.OK
    assert receiver.take(2) == [b"0", b"1"]


def test_replay_of_stdin_sends_before_it_ends(receiver, tmp_path):
    path = capture(tmp_path / "x.pcap", 0, 10**6)
    with started("send", receiver.url, "--file", "-") as command:
        with open(path, "rb") as file:
            code, _, _ = command.finish(file.read())
        assert receiver.take(2) == [b"0", b"1"]
    assert code == ExitCode.OK


def test_replay_of_a_damaged_capture_sends_what_precedes_and_fails(receiver, tmp_path, capsys):
    path = capture(tmp_path / "x.pcap", 0, 0)
    size = os.path.getsize(path)
    os.truncate(path, size - 1)
    assert cli.main(["send", receiver.url, "--file", path]) == ExitCode.FAILED
    assert receiver.take(1) == [b"0"]
    err = capsys.readouterr().err
    assert err.startswith("sent 1 messages, 1 bytes")
    assert f"fastsock: {path}: byte {size - 1}: the file ends inside" in err


def test_file_that_is_no_capture_is_refused_with_the_remedy(receiver, tmp_path, capsys):
    path = tmp_path / "text"
    path.write_text("some text that is no capture\n")
    assert cli.main(["send", receiver.url, "--file", str(path)]) == ExitCode.FAILED
    told = f"fastsock: {path}: byte 0: no pcap file begins with 73 6f 6d 65; "
    assert capsys.readouterr() == ("", told + "to send the file itself, give --size\n")


@pytest.mark.parametrize("address", ["udp://127.0.0.1:0", "x.sock"], ids=["udp", "unix"])
def test_what_is_sent_is_listened_to_exactly_once_in_order(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with started("listen", address, "--json", "--count", 200) as listening:
        cli.main(["send", listening.address(), "--size", "100", "--count", "200"])
        code, out, _ = listening.finish()
    assert code == ExitCode.OK
    *messages, summary = map(json.loads, out.splitlines())
    sent = [number.to_bytes(8, "big").hex() + "00" * 92 for number in range(200)]
    assert [message["data"] for message in messages] == sent
    assert summary["summary"]["unread"] == 0


def test_capture_of_a_replay_is_equal_to_the_first(tmp_path, capsys):
    first, second = tmp_path / "first.pcap", tmp_path / "second.pcap"
    with started("listen", "udp://[::1]:0", "--write", first, "--count", 50) as listening:
        url = listening.address()
        cli.main(["send", url, "--size", "33", "--count", "50"])
        assert listening.finish()[0] == ExitCode.OK
    with started("listen", url, "--write", second, "--count", 50) as listening:
        cli.main(["send", listening.address(), "--file", str(first)])
        assert listening.finish()[0] == ExitCode.OK
    captures = []
    for path in (first, second):
        with open(path, "rb") as file:
            captures.append([(one.destination, one.payload) for one in PcapReader(file)])
    assert captures[0] == captures[1]
    assert [payload[:8] for _, payload in captures[0]] == [n.to_bytes(8, "big") for n in range(50)]
