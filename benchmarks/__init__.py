# SPDX-License-Identifier: Apache-2.0
"""Benchmarks and the comparison with the official code: `python -m benchmarks.NAME`."""
