# SPDX-License-Identifier: Apache-2.0
"""Class names of the datasets that official weights were trained on, in the order of the heatmap's channels."""

from __future__ import annotations

COCO_CLASSES = tuple(
    [
        "person",
        "bicycle",
        "car",
        "motorcycle",
        "airplane",
        "bus",
        "train",
        "truck",
        "boat",
        "traffic light",
        "fire hydrant",
        "stop sign",
        "parking meter",
        "bench",
        "bird",
        "cat",
        "dog",
        "horse",
        "sheep",
        "cow",
        "elephant",
        "bear",
        "zebra",
        "giraffe",
        "backpack",
        "umbrella",
        "handbag",
        "tie",
        "suitcase",
        "frisbee",
        "skis",
        "snowboard",
        "sports ball",
        "kite",
        "baseball bat",
        "baseball glove",
        "skateboard",
        "surfboard",
        "tennis racket",
        "bottle",
        "wine glass",
        "cup",
        "fork",
        "knife",
        "spoon",
        "bowl",
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
        "chair",
        "couch",
        "potted plant",
        "bed",
        "dining table",
        "toilet",
        "tv",
        "laptop",
        "mouse",
        "remote",
        "keyboard",
        "cell phone",
        "microwave",
        "oven",
        "toaster",
        "sink",
        "refrigerator",
        "book",
        "clock",
        "vase",
        "scissors",
        "teddy bear",
        "hair drier",
        "toothbrush",
    ]
)
# Numbers of COCO's categories, from 0, that no object has: torchvision and DETR number their outputs by category.
_COCO_GAPS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_NAMES_LEFT = iter(COCO_CLASSES)
COCO_CATEGORIES = tuple("" if number in _COCO_GAPS else next(_NAMES_LEFT) for number in range(91))
NUSCENES_CLASSES = (
    "car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle", "traffic_cone",
    "barrier",
)  # fmt: skip
KITTI_CLASSES = ("Pedestrian", "Car", "Cyclist")
PERSON = ("person",)


def known_classes(count: int) -> tuple[str, ...]:
    """Class names of official weights with `count` classes; 'class_0', 'class_1', … if there are none.

    Args:
        count: Number of heatmap channels.
    """
    known = {len(names): names for names in (COCO_CLASSES, NUSCENES_CLASSES, KITTI_CLASSES, PERSON)}
    return known.get(count, tuple(f"class_{i}" for i in range(count)))
