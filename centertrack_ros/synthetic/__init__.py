# SPDX-License-Identifier: Apache-2.0
"""A synthetic street with complete ground truth: `Street(StreetConfig(seed=1))` gives `StreetFrame`s."""

from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.annotations import StreetFrame
from centertrack_ros.synthetic.config import LOOKS, RIGS, SCENARIOS, Mount, StreetConfig
from centertrack_ros.synthetic.street import Street

__all__ = ["CLASSES", "LOOKS", "RIGS", "SCENARIOS", "Mount", "Street", "StreetConfig", "StreetFrame"]
