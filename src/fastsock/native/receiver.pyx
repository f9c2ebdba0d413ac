# SPDX-License-Identifier: MIT
"""Receiver: the consumer's side of a receive thread, and ReceivedBatch: what it gives.

Facts
    The thread belongs to the C library and never asks for the GIL. What it has received lies in
    blocks; one that the consumer has taken stays untouched until it is given back.
What follows
    A block goes back when its ReceivedBatch, its messages and all views of it are gone: they share
    one Slab. A call that finds a block keeps the GIL; only one that has to wait gives it up.
"""
cimport cython
import os

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADF, EBUSY, ECHILD, EINTR, EPERM
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastsock.native.arguments cimport seconds_to_ns
from fastsock.native.errors cimport raise_error
from fastsock.libfastsock cimport (
    FSK_RECEIVER_MEMORY, FSK_RECEIVER_SHARDS, fsk_batch, fsk_receiver_close, fsk_receiver_fd,
    fsk_receiver_next, fsk_receiver_open, fsk_receiver_options, fsk_receiver_stats,
    fsk_receiver_stats_t, fsk_socket_set_receive_buffer,
)
from fastsock.native.messages cimport Messages
from fastsock.native.slab cimport Lender, lent_slab
from fastsock.native.state cimport random_key
from fastsock.native.waiting cimport make_way, now_ns

LEAST_MEMORY = FSK_RECEIVER_MEMORY
MOST_SHARDS = FSK_RECEIVER_SHARDS


def set_receive_buffer(int fd, int size, bint by_force, /):
    """Ask for a receive buffer; the bytes that there are now, as SO_RCVBUF reads."""
    cdef int result = fsk_socket_set_receive_buffer(fd, size, by_force)
    if result < 0:
        raise_error(result)
    return result


@cython.final
cdef class ReceivedBatch(Messages):
    """Messages that a `Receiver` has received: all that a `Batch` tells, by rows and columns.

    The memory is the receiver's. It goes back, to be received into again, when this object, its
    messages and every view of them are gone; until then nothing of it changes. A program that keeps
    many keeps the receiver from its memory: ``stats().pinned`` counts them.
    """

    def __repr__(self):
        return f"<fastsock.ReceivedBatch of {len(self)} messages>"


cdef class Receiver:
    # Of the C library: opened by fastsock.Receiver, which tells the rest.
    cdef Lender lender      # None: not opened
    cdef int owner          # the process that opened it
    cdef bint is_waiting    # a thread is in next_batch
    cdef bint is_closing

    def _open(self, list fds, size_t memory, int overflow, bint gro, bint keeps_sockets,
              unsigned metadata, list cpus, int priority, unsigned busy_poll_us):
        """Begin to receive from fds. If this succeeds they are the receiver's to close, and the
        list is empty: a signal's exception right after this call must not close them twice.
        """
        cdef fsk_receiver_options options
        cdef int numbers[FSK_RECEIVER_SHARDS]
        cdef int affinities[FSK_RECEIVER_SHARDS]
        cdef Lender lender = Lender.__new__(Lender)
        cdef unsigned i
        cdef int result
        if self.lender is not None:
            raise RuntimeError("a Receiver is opened once")
        for i in range(len(fds)):
            numbers[i] = fds[i]
            affinities[i] = cpus[i]
        memset(&options, 0, sizeof(options))
        options.size = sizeof(options)
        options.memory = memory
        options.overflow = overflow
        options.gro = gro
        options.keeps_sockets = keeps_sockets
        options.metadata = metadata
        options.cpus = affinities
        options.priority = priority
        options.busy_poll_us = busy_poll_us
        options.key = random_key()
        result = fsk_receiver_open(&lender.receiver, numbers, len(fds), &options)
        if result < 0:
            raise_refusal(result)
        self.owner = os.getpid()
        self.lender = lender
        fds.clear()

    def __dealloc__(self):
        # The views of the memory may live on, but the thread has nobody to receive for.
        if self.lender is not None:
            with nogil:
                fsk_receiver_close(self.lender.receiver)

    cdef int fail(self, int result) except -1:
        if result == -ECHILD:
            raise RuntimeError(f"this Receiver was opened by process {self.owner}; open another "
                               "one in a process that was forked off")
        raise_error(result)

    cdef Lender opened(self):
        if self.lender is None:
            self.fail(-EBADF)
        return self.lender

    cdef int enter(self) except -1:
        cdef bint was_waiting
        with cython.critical_section(self):
            was_waiting = self.is_waiting
            self.is_waiting = True
        if not was_waiting:
            return 0
        if self.owner != os.getpid():
            self.fail(-ECHILD)  # that thread is the parent's, and not here
        raise RuntimeError("another thread is in next_batch; give each thread a receiver of its "
                           "own: open_shards")

    cdef int leave(self) except -1:
        with cython.critical_section(self):
            self.is_waiting = False
        return 0

    cdef ReceivedBatch take(self, int64_t timeout_ns):
        """The oldest messages, or None at the end."""
        cdef Lender lender = self.opened()
        cdef ReceivedBatch batch
        cdef fsk_batch *filled
        cdef int result
        make_way()
        self.enter()
        try:
            result = fsk_receiver_next(lender.receiver, 0, &filled)
            if result == -EAGAIN and timeout_ns != 0:
                result = self.wait(timeout_ns, &filled)
        finally:
            self.leave()
        if result > 0:
            batch = ReceivedBatch.__new__(ReceivedBatch)
            batch.slab = lent_slab(lender, filled)
            return batch
        if result == 0:
            return None
        if result == -EAGAIN and timeout_ns != 0:
            raise TimeoutError("timed out")
        self.fail(result)

    cdef int wait(self, int64_t timeout_ns, fsk_batch **filled) except? -1:
        cdef int64_t deadline = now_ns() + timeout_ns if timeout_ns > 0 else -1
        cdef int64_t remaining = timeout_ns
        cdef int result = -EINTR
        while result == -EINTR:
            PyErr_CheckSignals()
            with nogil:
                result = fsk_receiver_next(self.lender.receiver, remaining, filled)
            if deadline >= 0:
                remaining = max(0, deadline - now_ns())
        return result

    def next_batch(self, timeout=None):
        """Take the messages that have waited longest.

        Parameters
        ----------
        timeout : float or None, seconds, optional
            None: wait for ever. 0: don't wait.

        Returns
        -------
        ReceivedBatch
            At least one message, in the order received; of several shards from one of them.

        Raises
        ------
        TimeoutError
            Nothing came by the deadline.
        BlockingIOError
            Nothing waits and timeout is 0.
        EOFError
            Nothing will come: the peer of a SOCK_SEQPACKET socket has closed, or the socket was
            shut down.
        OSError
            EBADF: the receiver is closed, maybe in the course of this call. Others: the error of
            recvmsg(2) that ended the thread.
        RuntimeError
            Another thread is in this call, or another process opened the receiver.
        """
        cdef ReceivedBatch batch = self.take(seconds_to_ns(timeout))
        if batch is None:
            raise EOFError("nothing more will come: the peer has closed, or the socket was shut "
                           "down")
        return batch

    def __iter__(self):
        return self

    def __next__(self):
        cdef ReceivedBatch batch
        try:
            batch = self.take(-1)
        except OSError as error:
            if error.errno != EBADF:
                raise
            batch = None
        if batch is None:
            raise StopIteration
        return batch

    def fileno(self):
        """Return a descriptor that is readable while messages wait, for select and the like.

        It is the receiver's: not to be read or closed. After it was readable ``next_batch(0)`` may
        still raise BlockingIOError.
        """
        cdef int fd = fsk_receiver_fd(self.opened().receiver)
        if fd < 0:
            self.fail(fd)
        return fd

    def _counts(self):
        """The arguments of ReceiverStats, in its order."""
        cdef fsk_receiver_stats_t stats
        cdef int result
        stats.size = sizeof(stats)
        result = fsk_receiver_stats(self.opened().receiver, &stats)
        if result < 0:
            self.fail(result)
        return (stats.received, stats.bytes, stats.system_calls, stats.largest_batch,
                stats.high_water, stats.kernel_drops, stats.kernel_drops_exact, stats.ring_drops,
                stats.delivered, stats.queued, stats.discarded, stats.truncated,
                stats.control_truncated, stats.descriptors, stats.pinned, stats.errors)

    def _begin_close(self):
        """Whether this is the call that closes it: the first of all threads."""
        with cython.critical_section(self):
            if self.is_closing:
                return False
            self.is_closing = True
            return True

    def _close(self):
        """End the thread and every wait. Any thread, more than once."""
        cdef Lender lender = self.lender
        cdef int result = 0
        if lender is not None:
            with nogil:
                result = fsk_receiver_close(lender.receiver)
        if result == -EBUSY:
            raise OSError(EBUSY, "trains of datagrams came too fast to switch UDP_GRO off in "
                          "order; the receiver is closed, but the socket may give one train as a "
                          "datagram: close it, and borrow one with gro=False")
        if result < 0:
            self.fail(result)

    def _is_own(self):
        """Whether this process opened it."""
        return self.lender is not None and self.owner == os.getpid()


cdef int raise_refusal(int result) except -1:
    """Raise what fsk_receiver_open has refused, with the cure where it is not plain."""
    if result == -EPERM:
        raise OSError(EPERM, "priority: this process may not have real-time threads; it takes "
                      "CAP_SYS_NICE or RLIMIT_RTPRIO")
    if result == -EAGAIN:
        # As OSError(EAGAIN) it would be the BlockingIOError of a call that does not wait.
        raise RuntimeError("can't start the receive thread: raise the limit of processes "
                           "(RLIMIT_NPROC, or pids.max of the container)")
    raise_error(result)
