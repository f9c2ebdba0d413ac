# SPDX-License-Identifier: MIT
"""Print who sent each datagram and what, until Ctrl+C or SIGTERM: fastsock.Receiver's C calls.

Usage: python udp_receiver.py HOST PORT     # port 0 takes a free one
"""

import ctypes as ct
import errno
import os
import signal
import socket
import sys
import threading

import fastsock

FOREVER, SIGNALS = -1, (signal.SIGINT, signal.SIGTERM)
u32, u64, size_t = ct.c_uint32, ct.c_uint64, ct.c_size_t
u32s = ct.POINTER(u32)
library = ct.CDLL(fastsock.get_library())


class Options(ct.Structure):  # receiver.h
    _fields_ = [("size", size_t), ("memory", size_t), ("overflow", ct.c_int), ("gro", ct.c_bool)]
    _fields_ += [("keeps_sockets", ct.c_bool), ("metadata", ct.c_uint), ("cpus", ct.c_void_p)]
    _fields_ += [("priority", ct.c_int), ("busy_poll_us", u32), ("key", u64)]


class Batch(ct.Structure):  # batch.h, up to the last member that is used here
    _fields_ = [(name, u32) for name in ("capacity", "max_message", "count", "metadata")]
    _fields_ += [("arena", ct.c_void_p), ("used", size_t), ("offsets", ct.POINTER(u64))]
    _fields_ += [("lengths", u32s), ("wire_lengths", u32s), ("flags", u32s), ("source", u32s)]


def declare(name, *arguments, result=ct.c_int):
    function = library[f"fsk_{name}"]
    function.argtypes, function.restype = arguments, result
    return function


def checked(result):
    if result >= 0:
        return result
    raise OSError(-result, os.strerror(-result))


handle, batch, address = ct.c_void_p, ct.POINTER(Batch), ct.POINTER(u64 * 17)  # room and alignment
new = declare("receiver_open", ct.POINTER(handle), ct.POINTER(ct.c_int), u32, ct.POINTER(Options))
receive = declare("receiver_next", handle, ct.c_int64, ct.POINTER(batch))
release = declare("receiver_release", handle, batch, result=None)
close = declare("receiver_close", handle)
free = declare("receiver_free", handle, result=None)
get_source = declare("batch_source", batch, u32, address, result=None)
format_host = declare("address_format_host", address, ct.c_char_p, result=checked)
get_port = declare("address_port", address, result=checked)

host, port = sys.argv[1:]
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((host, int(port)))
key = int.from_bytes(os.urandom(8), sys.byteorder)  # peers must not know it
options = Options(size=ct.sizeof(Options), memory=64 << 20, gro=True, key=key)
receiver, rows, source, text = handle(), batch(), (u64 * 17)(), ct.create_string_buffer(46)
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
print(f"Listening on {host} port {sock.getsockname()[1]}", flush=True)
checked(new(receiver, ct.c_int(sock.detach()), 1, options))  # who closes it
closer = threading.Thread(target=lambda: signal.sigwait(SIGNALS) and close(receiver), daemon=True)
closer.start()
while (count := receive(receiver, FOREVER, rows)) not in (0, -errno.EBADF):
    if count == -errno.EINTR:
        continue
    for i in range(checked(count)):
        get_source(rows, rows[0].source[i], source)
        format_host(source, text)
        data = ct.string_at(rows[0].arena + rows[0].offsets[i], rows[0].lengths[i])
        print(f"{text.value.decode()} port {get_port(source)}: {data!r}", flush=i + 1 == count)
    release(receiver, rows)
closer.join()  # as nobody may use what is freed
free(receiver)
