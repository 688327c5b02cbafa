# SPDX-License-Identifier: Apache-2.0
"""The `centertrack` command: one file per verb (see `main`)."""
