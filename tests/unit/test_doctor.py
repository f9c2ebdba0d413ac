# SPDX-License-Identifier: MIT
"""fastsock.command.doctor: what it reads, what it finds low, and how it prints that."""

import io
import resource
import sys

import pytest

import fastsock
from fastsock.command import doctor

SETTINGS = {
    "net.core.rmem_max": 4194304,
    "net.core.rmem_default": 212992,
    "net.core.wmem_max": 212992,
    "net.core.netdev_max_backlog": 1000,
    "net.unix.max_dgram_qlen": 512,
}
ONLY_OK = [doctor.Finding("one", "1"), doctor.Finding("two", "2", "note", "so it is")]

each_setting = pytest.mark.parametrize("name", sorted(SETTINGS))


@pytest.fixture
def proc(tmp_path):
    """A folder like /proc of a machine that nothing holds back."""
    for name, value in SETTINGS.items():
        write_setting(tmp_path, name, value)
    status = tmp_path / "self" / "status"
    status.parent.mkdir()
    status.write_text("Name:\tpython\nCapEff:\t0000000000800000\n")
    return tmp_path


def write_setting(proc, name, value):
    file = proc.joinpath("sys", *name.split("."))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{value}\n")


def find(name, proc):
    (found,) = (finding for finding in doctor.examine(proc) if finding.name == name)
    return found


def printed(monkeypatch, findings):
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    stream = io.StringIO()
    status = doctor.write(stream)
    return status, stream.getvalue()


@each_setting
def test_setting_that_is_high_enough_is_ok(proc, name):
    assert find(name, proc) == doctor.Finding(name, str(SETTINGS[name]))


@each_setting
def test_low_setting_has_a_reason_and_the_command(proc, name):
    write_setting(proc, name, SETTINGS[name] - 1)
    found = find(name, proc)
    assert (found.value, found.state) == (str(SETTINGS[name] - 1), "low")
    assert found.why
    assert found.command == f"sysctl -w {name}={SETTINGS[name]}"


@each_setting
def test_setting_that_a_container_does_not_show_is_a_note(proc, name):
    proc.joinpath("sys", *name.split(".")).unlink()
    found = find(name, proc)
    assert found.state == "note"
    assert "not readable" in found.value
    assert "host" in found.why
    assert found.command is None


def test_system_without_proc_leaves_its_settings_out(tmp_path):
    names = {finding.name for finding in doctor.examine(tmp_path / "nothing")}
    assert not names & SETTINGS.keys()
    assert {"fastsock", "engine", "kernel", "recvmmsg", "open files"} <= names


def test_every_capability_is_told(proc):
    for name, capability in fastsock.capabilities().items():
        found = find(name, proc)
        assert found.why == capability.reason
        assert (found.state == "ok") == capability.working


@pytest.mark.parametrize(
    ("name", "platform", "state"),
    [("udp_gro", "linux", "low"), ("busy_poll", "linux", "note"), ("udp_gro", "darwin", "note")],
)
def test_capability_that_is_missing_is_low_where_it_could_be_had(
    proc, monkeypatch, name, platform, state
):
    missing = fastsock.Capability(name, True, False, False, "because")
    monkeypatch.setattr(doctor, "capabilities", lambda: {name: missing})
    monkeypatch.setattr(sys, "platform", platform)
    found = find(name, proc)
    assert (found.state, found.why) == (state, "because")
    assert found.value == "built, not probed, not working"


@pytest.mark.parametrize(
    ("soft", "hard", "state", "command"),
    [
        (4096, 4096, "ok", None),
        (1024, 524288, "note", "ulimit -n 4096"),
        (1024, 2048, "note", "ulimit -n 2048"),
        (1024, resource.RLIM_INFINITY, "note", "ulimit -n 4096"),
        (1024, 1024, "note", None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", None),
    ],
)
def test_open_files_can_be_raised_up_to_the_hard_limit(
    proc, monkeypatch, soft, hard, state, command
):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    found = find("open files", proc)
    assert (found.state, found.command) == (state, command)


@pytest.mark.skipif(
    not hasattr(resource, "RLIMIT_RTPRIO"), reason=f"no RLIMIT_RTPRIO on {sys.platform}"
)
@pytest.mark.parametrize(
    ("limit", "status", "state"),
    [
        (0, "CapEff:\t0000000000800000\n", "ok"),
        (0, "CapEff:\t00000000ff7fffff\n", "note"),
        (0, "CapEff:\n", "note"),
        (0, "", "note"),
        (50, "", "ok"),
    ],
)
def test_real_time_priority_takes_the_limit_or_the_privilege(
    proc, monkeypatch, limit, status, state
):
    (proc / "self" / "status").write_text(status)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert find("real-time priority", proc).state == state


@pytest.mark.parametrize(
    ("is_enabled", "words"), [(True, "with the GIL"), (False, "free-threaded")]
)
def test_python_is_told_with_its_kind(proc, monkeypatch, is_enabled, words):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: is_enabled, raising=False)
    assert words in find("python", proc).value


def test_printing_tells_by_its_status_that_nothing_is_low(monkeypatch):
    status, text = printed(monkeypatch, ONLY_OK)
    assert status == 0
    assert text.endswith("\nnothing holds this machine back.\n")


def test_printing_tells_what_is_low_and_the_command(monkeypatch):
    low = doctor.Finding("setting", "3", "low", "too few", "sysctl -w setting=4")
    status, text = printed(monkeypatch, [*ONLY_OK, low])
    assert status == 1
    assert "\nlow   setting  3\n      too few\n      $ sysctl -w setting=4\n" in text
    assert text.endswith("\none thing holds this machine back.\n")
    _, text = printed(monkeypatch, [low, low])
    assert text.endswith("\n2 things hold this machine back.\n")


def test_printing_escapes_what_the_system_says(monkeypatch):
    finding = doctor.Finding("a\x1b[31m", "b\nc\u202e\udcff", "low", "d\r", "e\x07")
    _, text = printed(monkeypatch, [finding])
    lines = text.splitlines()
    assert lines[0] == r"low   a\x1b[31m  b\nc\u202e\udcff"
    assert lines[1:3] == [r"      d\r", r"      $ e\x07"]


def test_printing_wraps_long_values(monkeypatch):
    finding = doctor.Finding("name", "word " * 50 + "x" * 250, "low", "why " * 50)
    _, text = printed(monkeypatch, [finding])
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("word") == text.count("why") == 50
    assert text.count("x") == 250


def test_printing_of_this_machine_is_plain_text_that_agrees_with_its_status():
    stream = io.StringIO()
    status = doctor.write(stream)
    text = stream.getvalue()
    assert text.isascii()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert status == (1 if "\nlow " in text else 0)
    assert f"engine  {' ' * 20}" in text
