# SPDX-License-Identifier: MIT
"""The command ``fastsock``: its options and how it ends."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import socket as stdlib
import sys
from typing import TYPE_CHECKING, Any

import fastsock
from fastsock.command.console import escaped
from fastsock.command.ending import MEANINGS, ExitCode, Failure, Stopping, end_by
from fastsock.endpoint import Endpoint, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_CODES = "exit codes:\n" + "".join(f"  {code:<4} {MEANINGS[code]}\n" for code in ExitCode)
EXIT_CODES += """\
  130  ended by Ctrl+C (SIGINT), after the summary
  143  ended by SIGTERM, after the summary
  141  nobody reads its output any more (SIGPIPE)"""

ADDRESSES = """\
An ADDRESS is udp://HOST:PORT, udp://[IPV6]:PORT, unix:///PATH, unix://%00ABSTRACT or the path of a
Unix socket. Port 0 is any free one.
"""
# An address whose scheme was forgotten, which would be a path.
BARE = re.compile(r"[^/]*:\d+")
LONGEST = 65527  # bytes: a datagram over IPv6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, or end by the signal that ended it."""
    _replace_closed_streams()
    stopping = Stopping()
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options, stopping)
        sys.stdout.flush()
        if stopping.number is None:
            return code
        return end_by(stopping.number)
    except BrokenPipeError:
        # What is left in the stream would be tried again, and complained of, at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return end_by(signal.SIGPIPE)
    except KeyboardInterrupt:  # before the signals were taken over
        return end_by(signal.SIGINT)
    except (Failure, OSError) as error:
        print(f"fastsock: {_reason(error)}", file=sys.stderr)
        return error.code if isinstance(error, Failure) else ExitCode.FAILED


def _replace_closed_streams() -> None:
    """Let a command run whose caller has closed stdout or stderr, which are None then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _reason(error: Exception) -> str:
    """The error's text without what a terminal would obey."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        text = name + error.strerror
    return escaped(text)


def _listen(options: argparse.Namespace, stopping: Stopping) -> int:
    from fastsock.command import listen

    with stopping:
        return listen.run(options, stopping)


def _send(options: argparse.Namespace, stopping: Stopping) -> int:
    from fastsock.command import send

    with stopping:
        return send.run(options, stopping)


def _doctor(options: argparse.Namespace, stopping: Stopping) -> int:
    from fastsock.command import doctor

    return ExitCode.FOUND if doctor.write(sys.stdout) else ExitCode.OK


class _Parser(argparse.ArgumentParser):
    """With the exit codes after each help; without abbreviations, which a new option breaks."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("epilog", EXIT_CODES)
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**keywords, allow_abbrev=False)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options = super().parse_args(args, namespace)
        if problem := options.check(options):
            self.exit(ExitCode.USAGE, f"{self.prog} {options.command}: error: {problem}\n")
        return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastsock", description="Receive, send and look into datagram sockets.")
    parser.add_argument("--version", action="version", version=f"fastsock {fastsock.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_listen(commands)
    _add_send(commands)
    doctor = commands.add_parser("doctor", help="tell what this system can do")
    doctor.set_defaults(run=_doctor, check=lambda options: None)
    return parser


def _add_listen(commands: Any) -> None:
    parser = commands.add_parser(
        "listen",
        help="show and count the messages that come to an address",
        description="Messages go to stdout, one a line; counters and the summary to stderr.\n"
        "The first line there is 'listening on ADDRESS', with the port that was chosen.\n\n"
        + ADDRESSES,
    )
    parser.set_defaults(run=_listen, check=_check_listen)
    parser.add_argument("address", metavar="ADDRESS", type=_address)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--hex", action="store_true", help="show messages as a dump")
    forms.add_argument(
        "--json", action="store_true", help="show each as a JSON object, then the summary as one"
    )
    forms.add_argument("-q", "--quiet", action="store_true", help="count messages, show none")
    parser.add_argument(
        "--write",
        metavar="FILE",
        help="write a pcap file with nanoseconds and show no messages; - is stdout; "
        "not for Unix sockets",
    )
    parser.add_argument("--count", metavar="N", type=_positive, help="end after N messages")
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_not_negative,
        default=1.0,
        help="time between two lines of counters; 0: none (default: 1)",
    )
    parser.add_argument(
        "--group",
        metavar="GROUP",
        type=_group,
        action="append",
        default=[],
        help="join a multicast group, written GROUP[%%IFACE][@SOURCE]; may be repeated",
    )
    parser.add_argument(
        "--receive-buffer",
        metavar="BYTES",
        type=_size,
        help="ask the kernel for that much; K, M and G are understood",
    )
    parser.add_argument(
        "--no-gro",
        dest="gro",
        action="store_false",
        help="take datagrams one by one, so that losses are counted exactly",
    )
    parser.add_argument(
        "--shards", metavar="N", type=_positive, default=1, help="sockets that share the port"
    )


def _check_listen(options: argparse.Namespace) -> str | None:
    options.wants_metadata = options.hex or options.json or options.write is not None
    if options.write is not None:
        if options.address.family == stdlib.AF_UNIX:
            return "--write: Unix datagrams have no link type in pcap files"
        if options.hex or (options.json and options.write == "-"):
            return "--write shows no messages: leave --hex and, with -, --json away"
    return None


def _add_send(commands: Any) -> None:
    parser = commands.add_parser(
        "send",
        help="send lines, a file or a capture as datagrams",
        description="Without --file and --size each line of stdin is a datagram.\n"
        "With --size alone they begin with their number, 8 bytes big-endian, then zeros.\n\n"
        + ADDRESSES,
    )
    parser.set_defaults(run=_send, check=_check_send)
    parser.add_argument("address", metavar="ADDRESS", type=_address)
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="replay the UDP datagrams of a pcap file, or with --size cut any file into datagrams; "
        "- is stdin",
    )
    parser.add_argument("--size", metavar="BYTES", type=_datagram_size, help="of each datagram")
    parser.add_argument("--count", metavar="N", type=_positive, help="end after N datagrams")
    paces = parser.add_mutually_exclusive_group()
    paces.add_argument("--rate", metavar="N", type=_rate, help="datagrams a second (default: all)")
    paces.add_argument(
        "--speed",
        metavar="FACTOR",
        type=_not_negative,
        help="replay that much faster than it came; 0: as fast as possible (default: 1)",
    )
    parser.add_argument("--bind", metavar="ADDRESS", type=_address, help="send from this address")
    parser.add_argument("--json", action="store_true", help="write the summary to stdout as well")


def _check_send(options: argparse.Namespace) -> str | None:
    if options.speed is not None and (options.file is None or options.size is not None):
        return "--speed is for the replay of a --file without --size"
    if options.size == 0 and options.file is not None:
        return "--size 0 cuts nothing from a file"
    if options.bind is not None and options.bind.family != options.address.family:
        return "--bind takes an address of the same family"
    return None


def _address(text: str) -> Endpoint:
    if BARE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"write udp://{text}, or ./{text} for a Unix socket")
    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except OSError as error:
        raise Failure(f"{text}: {error.strerror or error}") from None


def _group(text: str) -> tuple[str, str | None, str | None]:
    """What join_group takes, from GROUP[%IFACE][@SOURCE]."""
    rest, _, source = text.partition("@")
    group, _, interface = rest.partition("%")
    return group, interface or None, source or None


def _number(convert: Callable[[str], Any], is_allowed: Callable[[Any], bool], wanted: str) -> Any:
    """An argparse type for numbers of which not all are allowed."""

    def parse(text: str) -> Any:
        try:
            number = convert(text)
        except ValueError:
            number = None
        if number is None or not is_allowed(number):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return number

    return parse


def _bytes(text: str) -> int:
    """An int with the binary unit that may follow it."""
    shift = 10 * (1 + "KMG".find(text[-1:].upper() or "?"))
    return int(text[:-1] if shift else text) << shift


_positive = _number(int, lambda number: number > 0, "a whole number from 1 up")
_rate = _number(float, lambda number: 0 < number < math.inf, "a number above 0")
_not_negative = _number(float, lambda number: 0 <= number < math.inf, "a number from 0 up")
_size = _number(_bytes, lambda number: number > 0, "a number of bytes, such as 65536 or 64K")
_datagram_size = _number(
    int, lambda number: 0 <= number <= LONGEST, f"a number of bytes from 0 to {LONGEST}"
)
