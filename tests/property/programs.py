# SPDX-License-Identifier: MIT
"""What a program of the differential tests is made of: steps, and objects for their arguments."""

import array
import dataclasses
import itertools
import operator
import pathlib
import socket as stdlib


@dataclasses.dataclass(frozen=True)
class Call:
    """sock.method(*arguments, **keywords); every argument is the text of an expression."""

    method: str
    arguments: tuple = ()
    keywords: tuple = ()  # pairs

    def __repr__(self):
        named = [f"{name}={text}" for name, text in self.keywords]
        return f"sock.{self.method}({', '.join([*self.arguments, *named])})"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that a World's method of this name does."""

    name: str
    argument: object = None

    def __repr__(self):
        return f"{self.name}({self.argument!r})"


# --- Objects that programs name -----------------------------------------------------------------


class TextSubclass(str):
    __slots__ = ()


class IntSubclass(int):
    pass


class TupleSubclass(tuple):
    __slots__ = ()


class Index:
    """An object that only __index__ makes an int."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Failing:
    """An object whose conversion raises an error of its own."""

    def __index__(self):
        raise ZeroDivisionError


def released(size):
    view = memoryview(bytearray(size))
    view.release()
    return view


def pattern(size):
    return bytes(itertools.islice(itertools.cycle(range(1, 256)), size))


def names_of_programs():
    names = {name: getattr(stdlib, name) for name in stdlib.__all__ if name.isupper()}
    names.update(
        SO_JUNK=1 << 20,
        Failing=Failing,
        Index=Index,
        IntSubclass=IntSubclass,
        Path=pathlib.Path,
        TextSubclass=TextSubclass,
        TupleSubclass=TupleSubclass,
        array=array.array,
        pattern=pattern,
        released=released,
    )
    return names


FLAGS_POSITION = {"recv": 1, "recvfrom": 1, "send": 1, "sendto": 1, "accept": None}


def flags_of(step):
    """Return the flags of a call as an int, 0 when it has none that is one."""
    position = FLAGS_POSITION.get(step.method, 2)
    given = dict(enumerate(step.arguments)) | dict(step.keywords)
    try:
        return operator.index(eval(given.get("flags", given.get(position)), names_of_programs()))
    except Exception:
        return 0
