# SPDX-License-Identifier: MIT
"""Remote procedure calls: JSON requests and answers, each after its length, until Ctrl+C.

Usage: python rpc_server.py [tcp://HOST:PORT or unix:///PATH]
A request is {"id": 1, "call": "add", "with": [1, 2]}, its answer {"id": 1, "result": 3}.
"""

import json
import signal
import sys

import fastsock

FRAMING = fastsock.LengthPrefix(4)
CALLS = {"add": lambda *numbers: sum(numbers), "upper": str.upper}


def answer(frame):
    try:
        request = json.loads(bytes(frame))
        found = {"id": request["id"], "result": CALLS[request["call"]](*request["with"])}
        if len(encoded := json.dumps(found).encode()) > 1 << 20:  # max_frame
            raise ValueError("the answer is too long")
        return encoded
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]}).encode()


def serve(address):
    with fastsock.StreamServer(address, FRAMING) as server:
        signal.signal(signal.SIGINT, lambda *_: server.stop())
        print(f"Listening on {server.getsockname()}", flush=True)
        for batch in server:
            for connection, frame in batch:
                connection.send(answer(frame))


if __name__ == "__main__":
    serve(*sys.argv[1:] or ["tcp://127.0.0.1:55557"])
