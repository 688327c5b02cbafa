# SPDX-License-Identifier: Apache-2.0
"""Tools of the developers: set-up, import of weights, demo clip, documentation, coverage."""
