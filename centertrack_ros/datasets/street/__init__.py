"""A synthetic street with full truth: `Street(StreetConfig(seed=1))` gives `StreetFrame`s."""

from centertrack_ros.datasets.street.actors import CLASSES
from centertrack_ros.datasets.street.config import LOOKS, RIGS, SCENARIOS, Mount, StreetConfig
from centertrack_ros.datasets.street.street import Street
from centertrack_ros.datasets.street.truth import StreetFrame

__all__ = ["CLASSES", "LOOKS", "RIGS", "SCENARIOS", "Mount", "Street", "StreetConfig", "StreetFrame"]
