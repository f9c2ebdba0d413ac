# SPDX-License-Identifier: MIT
# Only for the other native modules: nothing here is visible from Python.
