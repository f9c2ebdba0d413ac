# SPDX-License-Identifier: MIT
"""What the command ``fastsock`` is made of. Nothing else of the package uses it."""
