# SPDX-License-Identifier: MIT
"""Send back each frame (its length before it in 4 bytes, network order) of every TCP client.

Usage: python frame_server.py HOST PORT     # port 0 takes a free one"""

import ctypes as ct
import errno
import os
import signal
import socket
import sys
import threading

import fastsock

FAMILIES = (socket.AF_INET, socket.AF_INET6)
FOREVER, SIGNALS = -1, (signal.SIGINT, signal.SIGTERM)
u8, u32, u64, size_t = ct.c_uint8, ct.c_uint32, ct.c_uint64, ct.c_size_t
u32s, flag = ct.POINTER(u32), ct.c_bool
library = ct.CDLL(fastsock.get_library())


class Framing(ct.Structure):  # framing.h
    _fields_ = [("size", size_t), ("kind", ct.c_int), ("max_frame", u32), ("header_size", u8)]
    _fields_ += [("little_endian", flag), ("includes_header", flag), ("keeps_delimiter", flag)]
    _fields_ += [("delimiter_size", u8), ("delimiter", u8 * 64), ("frame_size", u32)]


class Options(ct.Structure):  # server.h
    _fields_ = [("size", size_t), ("framing", ct.POINTER(Framing)), ("memory", size_t)]
    _fields_ += [("max_pending", size_t), ("max_connections", u32)]
    _fields_ += [("closes_slow", flag), ("idle_timeout_ns", ct.c_int64)]


class Batch(ct.Structure):  # batch.h, up to the last member that is used here
    _fields_ = [(name, u32) for name in ("capacity", "max_message", "count", "metadata")]
    _fields_ += [("arena", ct.c_void_p), ("used", size_t), ("offsets", ct.POINTER(u64))]
    _fields_ += [("lengths", u32s), ("wire_lengths", u32s), ("flags", u32s), ("source", u32s)]


def declare(name, *arguments, result=ct.c_int):
    function = library[f"fsk_{name}"]
    function.argtypes, function.restype = arguments, result
    return function


def checked(result, *harmless):
    if result >= 0 or -result in harmless:
        return result
    raise OSError(-result, os.strerror(-result))


handle, batch = ct.c_void_p, ct.POINTER(Batch)
new_batch = declare("batch_new", ct.POINTER(batch), u32, u32, u64)
free_batch = declare("batch_free", batch, result=None)
arena_for = declare("server_arena", ct.POINTER(Framing), result=size_t)
open_server = declare("server_open", ct.POINTER(handle), ct.c_int, ct.POINTER(Options))
receive = declare("server_next", handle, ct.c_int64, batch)
send = declare("server_send", handle, u32, ct.c_void_p, size_t)
stop = declare("server_stop", handle, ct.c_int64, result=None)
free = declare("server_free", handle, result=None)
host = sys.argv[1]
listener = socket.create_server((host, int(sys.argv[2])), family=FAMILIES[":" in host])
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a thread waits for them
print(f"Listening on {host} port {listener.getsockname()[1]}", flush=True)
framing = Framing(size=ct.sizeof(Framing), kind=0, max_frame=1 << 20, header_size=4)
options = Options(ct.sizeof(Options), ct.pointer(framing), 64 << 20, 4 << 20, 1000, True, FOREVER)
server, frames = handle(), batch()
checked(open_server(server, listener.detach(), options))
checked(new_batch(frames, 1024, arena_for(framing) // 1024 + 1, 0))
end = threading.Thread(target=lambda: signal.sigwait(SIGNALS) and stop(server, 10**9), daemon=True)
end.start()
while checked(receive(server, FOREVER, frames), errno.EINTR):
    for i in range(frames[0].count):
        data, length = frames[0].arena + frames[0].offsets[i], frames[0].lengths[i]
        checked(send(server, frames[0].source[i], data, length), errno.EPIPE)  # EPIPE: it has ended
end.join()  # as nobody may use what is freed
free(server)
free_batch(frames)
