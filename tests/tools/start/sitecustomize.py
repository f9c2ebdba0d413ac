# SPDX-License-Identifier: MIT
"""Runs first in every Python that a test starts: no look whether fastsock has to be built again.

The tests' own import has built it. In each of some hundred children the look takes longer than the
rest of the import, and two at once wait for each other.
"""

import sys

for finder in sys.meta_path:
    if hasattr(finder, "rebuild_flag"):  # an editable install of scikit-build-core
        finder.rebuild_flag = False
