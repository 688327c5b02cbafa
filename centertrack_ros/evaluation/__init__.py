# SPDX-License-Identifier: Apache-2.0
"""Scores by the official metric code, comparisons of evaluations, tables and reports."""
