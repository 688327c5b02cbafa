# SPDX-License-Identifier: Apache-2.0
"""Engines, which run networks; `load_engine` makes one."""

from __future__ import annotations

from centertrack_ros.engine.loading import load_engine

__all__ = ["load_engine"]
