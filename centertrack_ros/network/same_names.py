# SPDX-License-Identifier: Apache-2.0
"""What data sets, detectors and models call the same things: the only place that knows.

There are three degrees. Spellings are names of the same annotations (`find_class`): scores and training may take one
for the other. Names of one thing, and wider ones (`candidates`), are what a detector's boxes are tracked as: a 'woman'
is a person, a 'van' a car where there are no vans. Stand-ins are what a model finds where another one has a class for
the whole: a bicycle, of a cyclist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from centertrack_ros.network.class_groups import plain

# Spellings of one class -> COCO's.
_SPELLINGS: Mapping[str, str] = {"pedestrian": "person", "motorbike": "motorcycle", "bus/rv/caravan": "bus"}
_STAND_INS: Mapping[str, str] = {"bicycle": "cyclist", "cyclist": "bicycle"}
# Names of one thing, whatever the data set. The order does not matter.
_SAME: tuple[tuple[str, ...], ...] = (
    ("person", "pedestrian", "people", "human", "man", "woman", "boy", "girl", "walker", "static person"),
    ("cyclist", "bicyclist", "rider", "motorcyclist"),
    ("person sitting", "person (sitting)"),
    ("car", "auto", "automobile", "passenger car", "sedan", "suv", "taxi", "cab", "limousine", "hatchback"),
    ("truck", "lorry", "pickup truck"),
    ("bus", "coach", "bendy bus", "rigid bus", "school bus"),
    ("van", "minivan"),
    ("train", "tram", "streetcar"),
    ("trailer", "caravan"),
    ("construction vehicle", "excavator"),
    ("motorcycle", "motorbike", "motor", "motor bike", "moped", "scooter"),
    ("bicycle", "bike", "pedal cycle"),
    ("airplane", "aeroplane", "plane", "aircraft"),
    ("boat", "ship", "watercraft"),
    ("traffic light", "traffic signal", "trafficlight"),
    ("traffic sign", "trafficsign"),
    ("stop sign", "stopsign"),
    ("traffic cone", "cone", "trafficcone", "pylon"),
    ("couch", "sofa", "sofa bed", "loveseat"),
    ("dining table", "diningtable", "table", "kitchen & dining room table"),
    ("potted plant", "pottedplant", "houseplant", "plant"),
    ("tv", "tvmonitor", "television", "monitor", "tv monitor", "computer monitor"),
    ("cell phone", "mobile phone", "cellphone", "phone"),
    ("cow", "cattle", "bull", "ox"),
    ("keyboard", "computer keyboard"),
    ("mouse", "computer mouse"),
    ("remote", "remote control"),
    ("microwave", "microwave oven"),
    ("oven", "gas stove"),
    ("hair drier", "hair dryer"),
    ("donut", "doughnut"),
    ("cup", "coffee cup", "mug"),
    ("sports ball", "ball", "football"),
    ("skis", "ski"),
    ("backpack", "rucksack"),
    ("handbag", "bag"),
)
# What a thing is, too, where a model does not tell it apart.
_WIDER: Mapping[str, tuple[str, ...]] = {
    "cyclist": ("person",),
    "person sitting": ("person",),
    "person on vehicle": ("person",),
    "van": ("car",),
    "trailer": ("truck",),
    "construction vehicle": ("truck",),
    "ambulance": ("van", "car"),
    "fire truck": ("truck",),
    "vehicle": ("car",),
    "other vehicle": ("truck",),
    "dog or cat": ("dog",),
}
# Beginnings of nuScenes' full names: 'human.pedestrian.adult' is a pedestrian, 'vehicle.bus.rigid' a bus.
_NUSCENES_FULL: tuple[tuple[str, str], ...] = (
    ("human.pedestrian", "person"),
    ("vehicle.emergency.police", "car"),
    ("vehicle.emergency.ambulance", "ambulance"),
    ("vehicle.construction", "construction vehicle"),
    ("movable object.trafficcone", "traffic cone"),
    ("movable object.barrier", "barrier"),
    ("static object.bicycle rack", "bicycle rack"),
)


def spelling(name: str) -> str:
    """The name in lower case and in COCO's spelling: names with the same one are the same class."""
    return _SPELLINGS.get(name.lower(), name.lower())


def find_class(name: str, classes: Sequence[str], stand_ins: bool = False) -> int:
    """The class that a name means.

    Args:
        name: In upper or lower case, and in any spelling.
        classes: Names of the classes; one of exactly this name is taken first.
        stand_ins: Take a bicycle for a cyclist, and the reverse, where there is no better class.

    Returns:
        Its number; -1 if there is none.
    """
    lower, spelled = [one.lower() for one in classes], [spelling(one) for one in classes]
    wanted = name.lower()
    if wanted in lower:
        return lower.index(wanted)
    names = (spelling(wanted), *([_STAND_INS[wanted]] if stand_ins and wanted in _STAND_INS else []))
    return next((spelled.index(one) for one in names if one in spelled), -1)


def short_name(name: str) -> str:
    """A name as the tables below have it: plain, and nuScenes' full ones without what is in front."""
    key = plain(name)
    for beginning, short in _NUSCENES_FULL:
        if key.startswith(beginning):
            return short
    if key.startswith("vehicle."):
        return key.split(".")[1]
    return key


def same_names(name: str) -> list[str]:
    """The name, and other names of the same thing."""
    return [name, *(one for names in _SAME if name in names for one in names)]


def candidates(name: str) -> Iterable[str]:
    """The name, other names of the same thing, and wider ones; the nearest first."""
    same = same_names(name)
    yield from same
    for one in same:
        for wider in _WIDER.get(one, ()):
            yield from same_names(wider)
