"""How a network is run; `load_engine` is the way in."""

from __future__ import annotations

from centertrack_ros.engine.loading import load_engine

__all__ = ["load_engine"]
