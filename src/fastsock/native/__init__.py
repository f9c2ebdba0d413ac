# SPDX-License-Identifier: MIT
"""The Cython layer: types in, types out, no policy. Not a public API."""
