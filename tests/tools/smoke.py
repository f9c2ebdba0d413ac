# SPDX-License-Identifier: MIT
"""What an installed wheel must do with nothing else installed; prints what it is as JSON.

    python -P tests/tools/smoke.py

It knows nothing of the checkout, so that every wheel of a release can be asked, wherever it was
built.
"""

import json
import sys

import fastsock as socket
from fastsock import aio

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
receiver.set_readahead(16)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.connect(receiver.getsockname())
batch = socket.Batch()
assert sender.send_many([b"%03d" % i for i in range(100)]) == 100
got = []
while len(got) < 100:
    receiver.recv_batch(batch)
    got += [message.bytes() for message in batch]
assert got == [b"%03d" % i for i in range(100)]

with socket.StreamServer("tcp://127.0.0.1:0", socket.LengthPrefix(4)) as server:
    client = socket.create_connection(server.getsockname())
    writer = socket.FrameWriter(client, socket.LengthPrefix(4))
    writer.send(b"frame")
    while not (frames := [bytes(frame) for _, frame in server.next_batch(5)]):
        pass
    assert frames == [b"frame"]

with socket.Receiver("udp://127.0.0.1:0") as receiver:
    sender.connect(receiver.getsockname())
    sender.send(b"last")
    assert [message.bytes() for message in receiver.next_batch(5)] == [b"last"]

# Whatever the build host's headers know, the kernel's numbers are the wheel's own.
if sys.platform == "linux":
    assert socket.native.library.engine_name() == "linux"
    lost = [name for name, told in socket.capabilities().items() if not told.built]
    assert not lost, f"this wheel was built without {lost}"

told = {"file": socket.__file__, "library": socket.get_library(), "aio": aio.__name__}
told["gil"] = getattr(sys, "_is_gil_enabled", bool)()
print(json.dumps(told))
