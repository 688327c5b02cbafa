# SPDX-License-Identifier: Apache-2.0
"""The paper's study: its tables and main claim on synthetic streets, and models on real frames.

Uses the package and is no part of it: `python -m experiments.paper_tables`, `python -m experiments.real_frames`.
"""
