# SPDX-License-Identifier: MIT
# Nothing of it is seen from Python.
