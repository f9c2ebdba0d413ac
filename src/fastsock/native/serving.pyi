# SPDX-License-Identifier: MIT
from typing import final

@final
class Serving: ...
