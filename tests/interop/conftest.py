# SPDX-License-Identifier: MIT
import signal

import pytest


@pytest.fixture(scope="module")
def sigint_heeded():
    """Let children get SIGINT even if pytest runs as a job for which the shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
