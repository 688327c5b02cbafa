# SPDX-License-Identifier: Apache-2.0
"""The node's work on recorded bags, and comparisons of its results."""
