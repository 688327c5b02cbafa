# SPDX-License-Identifier: Apache-2.0
"""Fusion of the tracks of several cameras into one view."""
