# SPDX-License-Identifier: MIT
from typing import Any, final

from _typeshed import ReadableBuffer

# Of a socket, as the standard library's methods take it.
_Address = tuple[Any, ...] | str | ReadableBuffer

@final
class Peers: ...

@final
class Destinations: ...
