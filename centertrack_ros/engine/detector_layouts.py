# SPDX-License-Identifier: Apache-2.0
"""The table of layouts in which detectors give their boxes, and how a file's layout is recognised.

A layout fits outputs by their number and shapes, and by what they hold for one image: what a layout takes for scores
must lie between 0 and 1. That tells layouts of equal shapes apart; where it does not, the user is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from centertrack_ros.engine import detector_decoding as decoding
from centertrack_ros.engine.detector_decoding import DISTANCE_BINS, STRIDES, Candidates
from centertrack_ros.engine.detector_input import CORNER, MIDDLE, STRETCH, InputForm

Array = NDArray[Any]
_GRIDS = (STRIDES, (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))  # of the usual models, those for large and small objects
_NANODET_GRIDS = {(8, 16, 32, 64): 0.0, (8, 16, 32): 0.5}  # NanoDet-Plus and the first NanoDet: strides -> cell offset
_IMAGENET = {"pixel_scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_ROUNDING = 0.01  # of bfloat16
_QUERIES = range(50, 1001)  # boxes of a set; usually 100 to 300


@dataclass(frozen=True)
class Outputs:
    """What a graph gave for one image.

    Attributes:
        arrays: Name -> array with the batch's dimension, in the file's order.
        size: (height, width) of the input, px.
        asks_size: The graph has an input for the size of the image.
        count: Number of classes as the file or the user tells; None: nobody does.
        task: As Ultralytics writes it: 'detect', 'segment', 'pose'; '': not told.
        least: Score: objects below it need not be decoded.
    """

    arrays: Mapping[str, Array]
    size: tuple[int, int]
    asks_size: bool = False
    count: int | None = None
    task: str = ""
    least: float = 0.0

    @property
    def shapes(self) -> str:
        """The outputs as messages show them."""
        return ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in self.arrays.items())

    def table(self) -> Array | None:
        """The only array (1, rows, columns), without the batch; prototypes of masks and raw levels have 4 or 5."""
        tables = [array for array in self.arrays.values() if array.ndim == 3]
        return tables[0][0] if len(tables) == 1 and len(tables[0]) == 1 else None

    def pair(self) -> tuple[Array, Array] | None:
        """Boxes (N, 4) and logits (N, C) of two outputs, without the batch."""
        tables = {name: array[0] for name, array in self.arrays.items() if array.ndim == 3 and len(array) == 1}
        if len(tables) != 2 or len({len(array) for array in tables.values()}) != 1:
            return None
        boxes = [name for name, array in tables.items() if array.shape[1] == 4]
        if len(boxes) == 2:
            boxes = [name for name in boxes if "box" in name or "det" in name]
        if len(boxes) != 1:
            return None
        return tables[boxes[0]], next(array for name, array in tables.items() if name != boxes[0])

    def triple(self) -> tuple[Array, Array, Array] | None:
        """Labels (N,), boxes (N, 4) and scores (N,) of three outputs, with or without a batch's dimension."""
        arrays = [a[0] if a.ndim > 1 and len(a) == 1 and a.shape != (1, 4) else a for a in self.arrays.values()]
        boxes = [array for array in arrays if array.ndim == 2 and array.shape[1] == 4]
        labels = [array for array in arrays if array.ndim == 1 and array.dtype.kind in "iu"]
        scores = [array for array in arrays if array.ndim == 1 and array.dtype.kind == "f"]
        if len(arrays) != 3 or not len(boxes) == len(labels) == len(scores) == 1:
            return None
        same = len(boxes[0]) == len(labels[0]) == len(scores[0])
        return (labels[0], boxes[0], scores[0]) if same else None


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        name: As users name it.
        form: The images that its detectors want.
        expected: The outputs, for messages.
        classes: Number of classes of outputs of such shapes; 0: the shapes do not tell; None: no such outputs.
        plausible: Whether such outputs hold what the layout says.
        decode: Outputs of one image to boxes.
        nms: Whether one object has several boxes.
    """

    name: str
    form: InputForm
    expected: str
    classes: Callable[[Outputs], int | None]
    plausible: Callable[[Outputs], bool]
    decode: Callable[[Outputs], Candidates]
    nms: bool = True

    def fits(self, outputs: Outputs) -> bool:
        """Whether the outputs can be of this layout, with the number of classes that is known."""
        found = self.classes(outputs)
        if found is None or (found and outputs.count not in (None, found)):
            return False
        return self.plausible(outputs)


def _probabilities(values: Array) -> bool:
    return bool(np.all((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)))


def _cells(size: tuple[int, int], strides: Sequence[int]) -> int:
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def _rows(outputs: Outputs) -> Array:
    found = outputs.table()
    assert found is not None  # `classes` has said so
    return found


# YOLO: one table.


def _objectness_classes(outputs: Outputs, per_cell: int, grids: Sequence[Sequence[int]] = _GRIDS) -> int | None:
    rows = outputs.table()
    if rows is None or rows.shape[1] < 6:
        return None
    fits = any(len(rows) == per_cell * _cells(outputs.size, strides) for strides in grids)
    return rows.shape[1] - 5 if fits else None


def _is_decoded(outputs: Outputs) -> bool:
    """Whether centres are in px, and not in strides from their cells: nearly every centre lies near its cell."""
    rows = _rows(outputs)
    cells, strides = decoding.grid(outputs.size)
    if len(rows) != len(cells):
        return True
    as_pixels = np.abs(rows[:, :2] / strides - cells - 0.5)
    return bool(np.median(as_pixels) < np.median(np.abs(rows[:, :2] - 0.5)))


def _has_scores(outputs: Outputs) -> bool:
    return _probabilities(_rows(outputs)[:, 4:])


def _all_objects(outputs: Outputs) -> bool:
    return bool(np.all(_rows(outputs)[:, 4] == 1))


def _yolov8_classes(outputs: Outputs) -> int | None:
    columns = outputs.table()
    if columns is None or len(columns) < 5 or columns.shape[1] not in {_cells(outputs.size, g) for g in _GRIDS}:
        return None
    if outputs.task in ("segment", "pose") and outputs.count:  # coefficients and joints follow the classes
        return outputs.count if len(columns) > 4 + outputs.count else None
    masks = [array.shape[1] for array in outputs.arrays.values() if array.ndim == 4]
    return max(len(columns) - 4 - sum(masks), 0) or None


def _yolov8(outputs: Outputs) -> Candidates:
    count = _yolov8_classes(outputs)
    assert count is not None  # asked before
    return decoding.without_objectness(_rows(outputs), count, outputs.least)


def _yolov8_plausible(outputs: Outputs) -> bool:
    return _probabilities(_rows(outputs)[4 : 4 + (_yolov8_classes(outputs) or 0)])


def _end_to_end_classes(outputs: Outputs) -> int | None:
    rows = outputs.table()
    if rows is None or outputs.asks_size:
        return None
    more = outputs.task in ("segment", "pose")
    return 0 if rows.shape[1] == 6 or (more and rows.shape[1] > 6) else None


def _in_parts(boxes: Array) -> bool:
    """Whether boxes are in parts of the input, and not in px."""
    return bool(np.all(np.abs(boxes - 0.5) < 1.0) and np.any(boxes))


def _end_to_end_plausible(outputs: Outputs, in_parts: bool) -> bool:
    rows = _rows(outputs)
    if _in_parts(rows[:, :4]) is not in_parts:  # what is filled up with zeros is in px
        return False
    numbers = rows[:, 5]
    whole = bool(np.all(np.abs(numbers - np.rint(numbers)) < 1e-3) and np.all(numbers > -0.5))
    return whole and _probabilities(rows[:, 4]) and len(rows) not in {_cells(outputs.size, g) for g in _GRIDS}


# NanoDet: one table.


def _nanodet_grid(outputs: Outputs) -> tuple[int, ...] | None:
    rows = outputs.table()
    return None if rows is None else next((g for g in _NANODET_GRIDS if len(rows) == _cells(outputs.size, g)), None)


def _nanodet_classes(outputs: Outputs) -> int | None:
    rows = outputs.table()
    if rows is None or _nanodet_grid(outputs) is None:
        return None
    return max(rows.shape[1] - 4 * DISTANCE_BINS, 0) or None


def _nanodet_plausible(outputs: Outputs) -> bool:
    rows = _rows(outputs)
    return _probabilities(rows[:, : -4 * DISTANCE_BINS]) and not _probabilities(rows[:, -4 * DISTANCE_BINS :])


def _nanodet(outputs: Outputs) -> Candidates:
    strides = _nanodet_grid(outputs)
    assert strides is not None
    return decoding.distributions(_rows(outputs), outputs.size, strides, _NANODET_GRIDS[strides], outputs.least)


# RT-DETR, D-FINE, DETR: a set of boxes.


def _rtdetr_table_classes(outputs: Outputs) -> int | None:
    rows = outputs.table()
    if rows is None or rows.shape[1] < 5 or len(rows) not in _QUERIES:
        return None
    on_grid = any(len(rows) in (_cells(outputs.size, grid), 3 * _cells(outputs.size, grid)) for grid in _GRIDS)
    return None if on_grid else rows.shape[1] - 4


def _rtdetr_table(outputs: Outputs) -> Candidates:
    rows = _rows(outputs)
    return decoding.set_prediction(rows[:, :4], rows[:, 4:], outputs.size, outputs.least)


def _logit_classes(outputs: Outputs, background: int = 0) -> int | None:
    found = outputs.pair()
    return None if found is None else max(found[1].shape[1] - background, 0) or None


def _is_rfdetr(outputs: Outputs) -> bool:
    return {"dets", "labels"} <= set(outputs.arrays)


def _unit_boxes(outputs: Outputs) -> bool:
    found = outputs.pair()
    return found is not None and _in_parts(found[0])


def _logits(outputs: Outputs, probabilities: Callable[[Array], Array]) -> Candidates:
    found = outputs.pair()
    assert found is not None
    boxes, logits = found
    return decoding.set_prediction(boxes, probabilities(logits.astype(np.float32)), outputs.size, outputs.least)


def _width(outputs: Outputs) -> int:
    found = outputs.pair()
    return 0 if found is None else found[1].shape[1]


def _labelled_classes(outputs: Outputs, asks_size: bool) -> int | None:
    return 0 if outputs.triple() is not None and outputs.asks_size is asks_size else None


def _labelled_plausible(outputs: Outputs) -> bool:
    found = outputs.triple()
    return found is not None and _probabilities(found[2]) and bool(np.all(found[0] >= 0))


def _labelled(outputs: Outputs) -> Candidates:
    found = outputs.triple()
    if found is None:
        raise ValueError(f"the detector gave outputs of other shapes than before: {outputs.shapes}")
    labels, boxes, scores = found
    return Candidates(boxes, scores, labels.astype(np.int64))


_YOLO = InputForm(MIDDLE)
_YOLOX = InputForm(CORNER, color="bgr", pixel_scale=1.0)
_RTDETR = InputForm(STRETCH, smooth=True)
_ULTRALYTICS_RTDETR = InputForm(STRETCH)
_DETR = InputForm(STRETCH, smooth=True, **_IMAGENET)  # type: ignore[arg-type]
_NANODET = InputForm(STRETCH, color="bgr", pixel_scale=1.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
# The border is the mean colour, which the model's own normalization makes 0, as in its batches.
_TORCHVISION = InputForm(CORNER, border=(104, 116, 124), own_size=True)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "yolox", _YOLOX, "one output 1 x cells x (5 + classes)",
            lambda o: _objectness_classes(o, 1, (STRIDES,)),
            lambda o: _has_scores(o) and not _is_decoded(o),
            lambda o: decoding.yolox_offsets(_rows(o), o.size, o.least),
        ),
        Layout(
            "yolox-decoded", _YOLOX, "one output 1 x cells x (5 + classes), with centres in px",
            lambda o: _objectness_classes(o, 1),
            lambda o: _has_scores(o) and not _all_objects(o) and _is_decoded(o),
            lambda o: decoding.with_objectness(_rows(o), o.least),
        ),
        Layout(
            "yolov6", _YOLO, "one output 1 x cells x (5 + classes), with an objectness of 1",
            lambda o: _objectness_classes(o, 1),
            lambda o: _has_scores(o) and _all_objects(o) and _is_decoded(o),
            lambda o: decoding.with_objectness(_rows(o), o.least),
        ),
        Layout(
            "yolov5", _YOLO, "one output 1 x (3 * cells) x (5 + classes)",
            lambda o: _objectness_classes(o, 3),
            _has_scores,
            lambda o: decoding.with_objectness(_rows(o), o.least),
        ),
        Layout("yolov8", _YOLO, "one output 1 x (4 + classes) x cells", _yolov8_classes, _yolov8_plausible, _yolov8),
        Layout(
            "yolo-end-to-end", _YOLO, "one output 1 x boxes x 6 (corners, score, class)",
            _end_to_end_classes,
            lambda o: _end_to_end_plausible(o, in_parts=False),
            lambda o: decoding.end_to_end(_rows(o)),
            nms=False,
        ),
        Layout(
            "nanodet", _NANODET, f"one output 1 x cells x (classes + {4 * DISTANCE_BINS})",
            _nanodet_classes, _nanodet_plausible, _nanodet,
        ),
        Layout(
            "rtdetr", _RTDETR, "labels, boxes and scores, and an input for the image's size",
            lambda o: _labelled_classes(o, True), _labelled_plausible, _labelled, nms=False,
        ),
        Layout(
            "rtdetr-raw", _RTDETR, "boxes 1 x boxes x 4 in parts of the input, logits 1 x boxes x classes",
            _logit_classes,
            lambda o: _unit_boxes(o) and not _is_rfdetr(o) and _width(o) not in (91, 92),
            lambda o: _logits(o, expit), nms=False,
        ),
        Layout(
            "rtdetr-ultralytics", _ULTRALYTICS_RTDETR, "one output 1 x boxes x (4 + classes), in parts of the input",
            _rtdetr_table_classes,
            lambda o: _probabilities(_rows(o)[:, 4:]) and _in_parts(_rows(o)[:, :4]),
            _rtdetr_table, nms=False,
        ),
        Layout(
            "rtdetr-end-to-end", _ULTRALYTICS_RTDETR,
            "one output 1 x boxes x 6 (centre, size, score, class), in parts of the input",
            _end_to_end_classes,
            lambda o: _end_to_end_plausible(o, in_parts=True),
            lambda o: decoding.centred_end_to_end(_rows(o), o.size), nms=False,
        ),
        Layout(
            "rf-detr", _DETR, "boxes 1 x boxes x 4 in parts of the input, logits 1 x boxes x classes",
            _logit_classes,
            lambda o: _unit_boxes(o) and (_is_rfdetr(o) or _width(o) == 91),
            lambda o: _logits(o, expit), nms=False,
        ),
        Layout(
            "detr", _DETR, "boxes 1 x boxes x 4 in parts of the input, logits 1 x boxes x (classes + 1)",
            lambda o: _logit_classes(o, 1),
            lambda o: _unit_boxes(o) and not _is_rfdetr(o) and _width(o) not in (80, 91),
            lambda o: _logits(o, lambda logits: softmax(logits, axis=-1)[:, :-1]), nms=False,
        ),
        Layout(
            "torchvision", _TORCHVISION, "boxes, labels and scores",
            lambda o: _labelled_classes(o, False), _labelled_plausible, _labelled, nms=False,
        ),
    )
}  # fmt: skip


def find_layout(outputs: Outputs, name: str, where: str) -> Layout:
    """The layout of a file's outputs.

    Args:
        outputs: For one image.
        name: As the user names it; '': recognise it.
        where: Names the file in messages.

    Raises:
        ValueError: There is no layout of this name, the outputs are not of it, or of none, or can be of several.
    """
    if name:
        return _named(outputs, name, where)
    found = [layout for layout in LAYOUTS.values() if layout.fits(outputs)]
    if len(found) == 1:
        return found[0]
    if found:
        readings = " or ".join(f"{layout.name}{_classes_text(layout.classes(outputs))}" for layout in found)
        raise ValueError(
            f"{where} gives {outputs.shapes}, which can be {readings}: say which one it is (detector.layout)"
        )
    if outputs.count is not None and (others := _with_other_counts(outputs)):
        raise ValueError(
            f"{where} has {others}, but there are {outputs.count} class names: state one for each "
            f"(detector.class_names)"
        )
    if all(array.ndim == 2 and len(array) == 1 for array in outputs.arrays.values()) and len(outputs.arrays) == 1:
        raise ValueError(f"{where} gives {outputs.shapes}: that is a classifier, expected a detector of boxes")
    raise ValueError(
        f"{where} gives {outputs.shapes} for an input of {outputs.size[0]}x{outputs.size[1]} px, which is the layout "
        f"of no known detector; there are {', '.join(LAYOUTS)}"
    )


def _named(outputs: Outputs, name: str, where: str) -> Layout:
    if name not in LAYOUTS:
        raise ValueError(f"detector.layout must be one of {', '.join(LAYOUTS)}, got '{name}'")
    layout = LAYOUTS[name]
    count = layout.classes(outputs)
    if count is None:
        raise ValueError(f"{where} gives {outputs.shapes}, but layout {name} is {layout.expected}")
    if count and outputs.count not in (None, count):
        raise ValueError(
            f"{where} has {count} classes, but there are {outputs.count} class names: state one for each "
            f"(detector.class_names)"
        )
    return layout


def _with_other_counts(outputs: Outputs) -> str:
    """The numbers of classes with which the outputs would be of a layout."""
    unknown = Outputs(outputs.arrays, outputs.size, outputs.asks_size, None, outputs.task)
    counts = {layout.classes(unknown) for layout in LAYOUTS.values() if layout.fits(unknown)}
    return " or ".join(_classes_text(count).removeprefix(" with ") for count in sorted(filter(None, counts)))


def _classes_text(count: int | None) -> str:
    return f" with {count} class{'es' if count > 1 else ''}" if count else ""
