# SPDX-License-Identifier: MIT
"""Where fastsock differs from the standard library on purpose: the one place that says so."""

import errno
import operator
import select
import socket as stdlib

from property.programs import flags_of, names_of_programs


class Either(tuple):
    """Two outcomes that are both right."""

    __slots__ = ()


def readiness(step):
    return select.POLLOUT if step.method.startswith("send") else select.POLLIN


def may_try_first(step, sock):
    """Tell whether fastsock may make this call once without waiting although sock has a timeout.

    The standard library polls before each call on such a socket; fastsock calls, and polls when
    there is nothing, or polls when calls on this descriptor mostly found nothing. Where the kernel
    answers at once what poll does not announce (data calls on a listener, no bytes asked of a TCP
    socket, a message too long, a Unix stream with little room), the one gives that answer and the
    other TimeoutError. docs/differences.md allows both. So the standard library's side is made to
    try as well, and where that raises either error is right.
    """
    if sock.fileno() == -1:
        return False
    if not step.method.startswith("recv"):
        return True
    low_water = sock.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVLOWAT)
    no_try = stdlib.MSG_WAITALL | stdlib.MSG_ERRQUEUE | stdlib.MSG_OOB
    return not flags_of(step) & no_try and not (sock.type == stdlib.SOCK_STREAM and low_water > 1)


def without_known_differences(step, world, outcome):
    """Return outcome without what fastsock does otherwise on purpose.

    When a socket with a timeout waits: may_try_first() tells.

    recv and recvfrom with MSG_TRUNC as an input flag: CPython grows the result to the datagram's
    real length; and of TCP, which then copies nothing, these and recvmsg return memory that nobody
    wrote. fastsock's result is never longer than the request and never such memory. So the result
    is cut to the request, and of TCP only the length counts.

    No difference at all, but a race in the kernel that either can win: a send with MSG_FASTOPEN to
    a port where nobody listens is refused, or still under way.

    What else differs on purpose is never looked at: the texts of exceptions and, of accept, which
    of the two classes the connection has.
    """
    if isinstance(outcome, Either):
        return outcome
    if step.method.startswith("send") and flags_of(step) & stdlib.MSG_FASTOPEN:
        (verdict, *rest), after = outcome
        if verdict == "raised" and rest[1] in (errno.EINPROGRESS, errno.ECONNREFUSED):
            return (verdict, "refused, or under way"), after
    if step.method not in ("recv", "recvfrom", "recvmsg"):
        return outcome
    (verdict, *rest), after = outcome
    if verdict != "returned" or not flags_of(step) & stdlib.MSG_TRUNC:
        return outcome
    size = operator.index(eval(step.arguments[0], names_of_programs()))
    kind, value = rest[0]
    is_tcp = world.sock.type == stdlib.SOCK_STREAM and world.sock.family != stdlib.AF_UNIX

    def known(data):
        return len(data[:size]) if is_tcp else data[:size]

    if step.method == "recv":
        return (verdict, (kind, known(value))), after
    (data_kind, data), *others = value
    return (verdict, (kind, [(data_kind, known(data)), *others])), after
