# SPDX-License-Identifier: MIT
from typing import final

@final
class Lender: ...

@final
class Slab: ...

@final
class Region: ...
