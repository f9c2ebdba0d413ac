# SPDX-License-Identifier: MIT
"""Every name of the running Python's socket module, and what fastsock.socket is as a class.

Nothing here is a list of names: which constants there are depends on the Python and on the host it
was built on.
"""

import _socket
import copy
import gc
import pickle
import socket as stdlib
import types
import weakref

import pytest

import fastsock

STDLIB_ONLY_PRIVATE = sorted(
    name
    for name in vars(stdlib)
    if name not in stdlib.__all__ and not (name.startswith("__") and name.endswith("__"))
)
# Private, and yet it makes sockets: test_socket puts it in the place of socketpair (3.13).
REBUILT_PRIVATE = {"_fallback_socketpair"}

each_imported = pytest.mark.parametrize("name", sorted(fastsock.__imports__))
each_implemented = pytest.mark.parametrize("name", sorted(fastsock.__implements__))
each_added = pytest.mark.parametrize("name", sorted(fastsock.__adds__))


@pytest.fixture
def sock():
    with fastsock.socket(fastsock.AF_INET, fastsock.SOCK_DGRAM) as sock:
        yield sock


def error_of(call):
    """Return the class and the text of what call raises."""
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    pytest.fail("nothing was raised")


# --- Names of the module ----------------------------------------------------------------------


def test_all_of_fastsock_is_the_sum_of_the_three_lists():
    names = [*fastsock.__implements__, *fastsock.__imports__, *fastsock.__adds__]
    assert sorted(fastsock.__all__) == sorted(names)
    assert len(names) == len(set(names))


def test_names_of_stdlib_are_implemented_or_imported():
    covered = {*fastsock.__implements__, *fastsock.__imports__}
    assert set(stdlib.__all__) == covered


@each_imported
def test_imported_name_is_the_object_of_stdlib(name):
    assert getattr(fastsock, name) is getattr(stdlib, name)


@each_implemented
def test_implemented_name_is_not_the_object_of_stdlib(name):
    assert getattr(fastsock, name) is not getattr(stdlib, name)


@each_implemented
def test_implemented_name_tells_fastsock_as_its_module(name):
    assert getattr(fastsock, name).__module__ == "fastsock"


@each_added
def test_added_name_is_new_and_there(name):
    assert name not in stdlib.__all__
    assert hasattr(fastsock, name)
    assert not hasattr(_socket, name)


@pytest.mark.parametrize("name", STDLIB_ONLY_PRIVATE)
def test_name_outside_all_resolves_as_in_stdlib(name):
    found, theirs = getattr(fastsock, name), getattr(stdlib, name)
    if name in REBUILT_PRIVATE:
        assert isinstance(found, types.FunctionType)
        assert found.__code__ is theirs.__code__
        assert found.__globals__["socket"] is fastsock.socket
    else:
        assert found is theirs


@pytest.mark.parametrize(
    "name",
    ["_GLOBAL_DEFAULT_TIMEOUT", "EBADF", "EAGAIN", "SocketIO", "_LOCALHOST", "errno", "MsgFlag"],
)
def test_name_that_others_import_is_the_object_of_stdlib(name):
    """The names that http.client, poplib, asyncio and urllib3 take; the list above is computed."""
    assert getattr(fastsock, name) is getattr(stdlib, name)


def test_unknown_name_raises_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match=r"fastsock.*no_such_name") as raised:
        fastsock.no_such_name  # noqa: B018 - the look-up is what is tested
    # `from fastsock import no_such_name` and hasattr rest on the class; the chain would confuse.
    assert raised.value.__cause__ is None
    assert not hasattr(fastsock, "no_such_name")


def test_star_import_brings_all_names():
    names = {}
    exec("from fastsock import *", names)
    assert set(fastsock.__all__) <= set(names)
    assert names["socket"] is fastsock.socket


def test_stdlib_name_added_later_resolves(monkeypatch):
    """A program that patches the standard library (a test, a proxy) is seen through fastsock."""
    marker = object()
    monkeypatch.setattr(stdlib, "_added_by_a_test", marker, raising=False)
    assert fastsock._added_by_a_test is marker


# --- The class --------------------------------------------------------------------------------


def test_socket_type_is_that_of_c():
    assert fastsock.SocketType is _socket.socket


def test_class_is_subclass_of_stdlib():
    assert fastsock.socket.__bases__ == (stdlib.socket,)
    assert issubclass(fastsock.socket, _socket.socket)


def test_new_attribute_is_refused_as_in_stdlib(sock):
    assert isinstance(vars(fastsock.socket)["__slots__"], (tuple, list))
    assert not hasattr(sock, "__dict__")
    with stdlib.socket() as theirs:
        kind, _ = error_of(lambda: setattr(theirs, "no_such_attribute", 1))
    assert error_of(lambda: setattr(sock, "no_such_attribute", 1))[0] is kind is AttributeError


def test_subclass_without_slots_has_a_dict():
    class Subclass(fastsock.socket):
        pass

    with Subclass() as sock:
        sock.attribute = 1
        assert vars(sock) == {"attribute": 1}


def test_public_names_of_class_are_those_of_stdlib_and_the_documented_ones():
    ours = {name for name in dir(fastsock.socket) if not name.startswith("_")}
    theirs = {name for name in dir(stdlib.socket) if not name.startswith("_")}
    assert theirs <= ours
    assert "detach_stdlib" in ours - theirs


def test_class_defines_no_pickling_of_its_own():
    """Cython gives its types __reduce_cython__ unless it is told not to."""
    assert not [name for name in dir(fastsock.socket) if name.endswith("_cython__")]
    assert "__reduce__" not in vars(fastsock.socket)


@pytest.mark.parametrize("cls", [stdlib.socket, _socket.socket], ids=["stdlib", "native"])
def test_socket_is_instance_of_stdlib_classes(sock, cls):
    assert isinstance(sock, cls)


def test_equality_and_hash_are_identity(sock):
    with sock.dup() as twin:
        assert sock == sock
        assert sock != twin
        assert hash(sock) == object.__hash__(sock)
        assert len({sock, twin, sock}) == 2


def test_weak_reference_ends_with_the_socket():
    sock = fastsock.socket()
    reference = weakref.ref(sock)
    assert reference() is sock
    sock.close()
    del sock
    gc.collect()
    assert reference() is None


def test_socket_is_tracked_by_the_collector(sock):
    with stdlib.socket() as theirs:
        assert gc.is_tracked(sock) == gc.is_tracked(theirs)


def test_repr_is_that_of_stdlib_with_the_name_of_fastsock(sock):
    sock.bind(("127.0.0.1", 0))
    with stdlib.socket(fileno=sock.fileno()) as theirs:
        theirs_open = repr(theirs)
        theirs.detach()
    # proto is found from the descriptor there, and is what the program said here.
    expected = theirs_open.replace("<socket.socket", "<fastsock.socket").replace(
        "proto=17", "proto=0"
    )
    assert repr(sock) == expected
    assert repr(sock).startswith(f"<fastsock.socket fd={sock.fileno()}, ")


def test_repr_of_closed_socket_says_so(sock):
    sock.close()
    assert repr(sock).startswith("<fastsock.socket [closed] fd=-1, ")


def test_repr_of_subclass_names_it():
    class Subclass(fastsock.socket):
        pass

    with Subclass() as sock:
        assert repr(sock).startswith(f"<{__name__}.{Subclass.__qualname__} fd=")


def test_repr_of_socket_without_init_works():
    sock = fastsock.socket.__new__(fastsock.socket)
    assert repr(sock).startswith("<fastsock.socket fd=-1, ")


def test_class_can_be_found_by_the_name_it_tells():
    cls = fastsock.socket
    assert (cls.__module__, cls.__qualname__) == ("fastsock", "socket")
    assert pickle.loads(pickle.dumps(cls)) is cls


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_raises_type_error_of_stdlib(sock, protocol):
    with stdlib.socket() as theirs:
        expected = error_of(lambda: pickle.dumps(theirs, protocol))
    assert expected[0] is TypeError
    assert error_of(lambda: pickle.dumps(sock, protocol)) == expected


@pytest.mark.parametrize("function", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copying_raises_type_error_of_stdlib(sock, function):
    with stdlib.socket() as theirs:
        expected = error_of(lambda: function(theirs))
    assert expected == (TypeError, "cannot pickle 'socket' object")
    assert error_of(lambda: function(sock)) == expected


@pytest.mark.parametrize("name", ["family", "type", "proto", "timeout"])
def test_attribute_reads_as_in_stdlib_and_is_read_only(sock, name):
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as theirs:
        expected = getattr(theirs, name)
        error = error_of(lambda: setattr(theirs, name, 1))
    assert getattr(sock, name) == expected
    assert type(getattr(sock, name)) is type(expected)
    assert error_of(lambda: setattr(sock, name, 1))[0] is error[0] is AttributeError


# --- Which class the makers give --------------------------------------------------------------


def test_dup_has_the_class_of_the_socket(sock):
    class Subclass(fastsock.socket):
        pass

    with sock.dup() as twin, Subclass() as special, special.dup() as special_twin:
        assert type(twin) is fastsock.socket
        assert type(special_twin) is Subclass


def test_functions_that_make_sockets_give_ours():
    with (
        fastsock.create_server(("127.0.0.1", 0)) as listener,
        fastsock.create_connection(listener.getsockname()) as client,
        fastsock.fromfd(client.fileno(), client.family, client.type) as copied,
    ):
        server, _ = listener.accept()
        one, other = fastsock.socketpair()
        with server, one, other:
            made = [listener, client, copied, server, one, other]
            assert {type(sock) for sock in made} == {fastsock.socket}


def test_accept_of_subclass_gives_the_class_of_fastsock():
    """CPython's rule: the module's `socket`, not the class of the listener."""

    class Subclass(fastsock.socket):
        pass

    with Subclass() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with fastsock.create_connection(listener.getsockname()):
            server, _ = listener.accept()
            with server:
                assert type(server) is fastsock.socket
