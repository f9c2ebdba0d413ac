# SPDX-License-Identifier: MIT
"""Importing fastsock into programs that have already changed something, and what that changes."""

import pytest

pytestmark = pytest.mark.one_engine


def test_multiprocessing_imported_later_can_send_our_sockets(run_child):
    run_child("""
import sys
import fastsock
assert "multiprocessing.reduction" not in sys.modules
from multiprocessing.reduction import ForkingPickler
import multiprocessing.reduction as reduction
with fastsock.socket() as sock:
    ForkingPickler.dumps(sock)
# Nothing of ours is left in the import system.
assert type(reduction.__spec__.loader).__module__ == "_frozen_importlib_external"
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("fastsock")]
""")


def test_multiprocessing_whose_first_import_failed_can_send_our_sockets(run_child):
    run_child("""
import sys
import fastsock
sys.modules["multiprocessing.context"] = None
try:
    import multiprocessing.reduction
except ImportError:
    pass
else:
    raise AssertionError("the import was to fail")
for name in [name for name in sys.modules if name.startswith("multiprocessing")]:
    del sys.modules[name]
from multiprocessing.reduction import ForkingPickler
with fastsock.socket() as sock:
    ForkingPickler.dumps(sock)
""")


def test_import_while_another_thread_imports_multiprocessing_works(run_child):
    run_child("""
import importlib.machinery, sys, threading
started, resume = threading.Event(), threading.Event()
loader = importlib.machinery.SourceFileLoader
real = loader.exec_module
def slow(self, module):
    if module.__name__ == "multiprocessing.reduction":
        started.set()
        resume.wait(10)
    if module.__name__ == "fastsock.pickling":
        threading.Timer(0.1, resume.set).start()
    real(self, module)
loader.exec_module = slow
assert "multiprocessing.reduction" not in sys.modules
other = threading.Thread(target=__import__, args=("multiprocessing.reduction",))
other.start()
assert started.wait(10)
import fastsock
assert resume.is_set()
other.join()
from multiprocessing.reduction import ForkingPickler
with fastsock.socket() as sock:
    ForkingPickler.dumps(sock)
""")


def test_import_after_a_function_was_replaced_leaves_the_replacement(run_child):
    run_child("""
import functools, socket
socket.create_connection = functools.partial(socket.create_connection, timeout=1)
import fastsock
assert fastsock.create_connection is socket.create_connection
with fastsock.create_server(("127.0.0.1", 0)) as listener:
    assert type(listener) is fastsock.socket
""")


def test_import_after_socket_was_reloaded_uses_the_class_in_place(run_child):
    run_child("""
import importlib, socket
before = socket.socket
importlib.reload(socket)
assert socket.socket is not before
import fastsock
assert issubclass(fastsock.socket, socket.socket)
with fastsock.installed():
    assert "recv" in vars(socket.socket)
""")


def test_import_under_a_replaced_class_finds_cpythons_own(run_child):
    run_child("""
import socket
own = socket.socket
class Other(own):
    pass
socket.socket = Other
import fastsock
assert fastsock.socket.__bases__ == (own,)
""")


def test_unknown_engine_is_an_import_error_that_names_the_cure(run_child):
    printed = run_child("""
import os
os.environ["FASTSOCK_ENGINE"] = "turbo"
try:
    import fastsock
except ImportError as error:
    print(error)
""")
    assert "FASTSOCK_ENGINE" in printed
    assert "portable" in printed


def test_import_does_not_touch_the_standard_librarys_class(run_child):
    run_child("""
import socket
before = dict(vars(socket.socket))
import fastsock
assert dict(vars(socket.socket)) == before
""")
