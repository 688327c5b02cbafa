# SPDX-License-Identifier: Apache-2.0
"""Readers and writers of data sets; `registry.read_dataset` reads one by its name."""
