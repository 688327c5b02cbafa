# SPDX-License-Identifier: Apache-2.0
"""A detector of the user's own, as an ONNX file: finds the boxes that the tracker follows."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.detector_decoding import Candidates
from centertrack_ros.engine.detector_graph import Graph, Port, open_graph
from centertrack_ros.engine.detector_input import Placement
from centertrack_ros.engine.detector_layouts import LAYOUTS, Layout, Outputs, find_layout
from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.engine.preprocess import check_image
from centertrack_ros.engine.registry import AUTO, EngineOptions
from centertrack_ros.network.classes import COCO_CATEGORIES, COCO_CLASSES
from centertrack_ros.types import ForeignDetections

_MOST = 2000  # boxes of one image that are compared with each other, strongest first: bounds the time
_TASKS = ("", "detect", "segment", "pose")
_PROBE_GREY = 114


class Detector:
    """Runs one file on single images; used from one thread."""

    def __init__(self, path: Path, graph: Graph, layout: str = "", class_names: Sequence[str] = ()) -> None:
        """Runs the file once, to see what it gives.

        Args:
            path: Of the file, for messages.
            graph: Runs it.
            layout: Key of `detector_layouts.LAYOUTS`; '': recognised.
            class_names: In the order of the outputs; empty: from the file's metadata, or COCO's.

        Raises:
            ValueError: The file is no such detector, or its layout or its classes are not known; one sentence.
        """
        if layout and layout not in LAYOUTS:
            raise ValueError(f"detector.layout must be one of {', '.join(LAYOUTS)}, got '{layout}'")
        self.path, self._graph = path, graph
        self._image = _image_port(graph.inputs, path)
        self._size_port = _size_port(graph.inputs, self._image, path)
        self._side = _longer_side(graph.metadata)
        self._task = graph.metadata.get("task", "")
        if self._task not in _TASKS:
            raise ValueError(f"{path} is made for the task '{self._task}', expected a detector of upright boxes")
        names = tuple(class_names) or _stored_names(graph.metadata)
        self._count = len(names) or None
        self.layout, count = self._recognise(layout)
        self.class_names = names or self._usual_names(count)
        self._names = np.array([*self.class_names, ""], np.str_)
        self._table = self.layout.form.table()

    @property
    def name(self) -> str:
        """File, layout and runtime, for logs."""
        count = len(self.class_names)
        return f"{self.path.name} ({self.layout.name}, {count} class{'es' if count > 1 else ''}) on {self._graph.name}"

    def detect(self, image: NDArray[np.uint8], limits: DetectorLimits | None = None) -> ForeignDetections:
        """What the detector finds in an image.

        Args:
            image: BGR uint8 (H, W, 3).
            limits: Which boxes count; None: the defaults.

        Returns:
            Strongest first, in px of the image, not clipped to it.

        Raises:
            ValueError: The image cannot be used, or the detector gives values that are none; one sentence.
        """
        check_image(image)
        limits, form = limits or DetectorLimits(), self.layout.form
        where = form.placement(image.shape[:2], self._fixed_size(), self._side)
        outputs = self._run(form.render(image, where, self._table), where, limits.min_score)
        if self.layout.classes(outputs) is None:
            raise ValueError(f"the detector gave outputs of other shapes than before: {outputs.shapes}")
        return self._detections(self.layout.decode(outputs), where, limits)

    def _detections(self, found: Candidates, where: Placement, limits: DetectorLimits) -> ForeignDetections:
        scores = np.asarray(found.scores, np.float32)
        if not np.all(np.isfinite(scores)):
            raise ValueError(f"the detector {self.path.name} gave scores that are not numbers")
        strong = np.flatnonzero(scores >= max(limits.min_score, 1e-6))  # end-to-end ones fill up with scores of 0
        strong = strong[np.argsort(-scores[strong], kind="stable")][:_MOST]
        boxes, ids = np.asarray(found.boxes[strong], np.float32), found.class_ids[strong]
        if not np.all(np.isfinite(boxes)):
            raise ValueError(f"the detector {self.path.name} gave boxes that are not numbers")
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self.class_names):
            number = ids.max() if ids.max() >= len(self.class_names) else ids.min()
            raise ValueError(
                f"the detector {self.path.name} found class {number}, but there are {len(self.class_names)} class "
                f"names: state one for each (detector.class_names)"
            )
        keep = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))  # those without an area show nothing
        if self.layout.nms:
            keep = keep[_suppress(boxes[keep], scores[strong[keep]], ids[keep], limits)]
        return ForeignDetections(
            boxes=where.to_image(boxes[keep]),
            scores=np.minimum(scores[strong[keep]], 1.0),
            class_names=self._names[ids[keep]],
        )

    def _recognise(self, name: str) -> tuple[Layout, int]:
        """The layout of what the file gives for a grey image, and the number of classes that its shapes tell."""
        fixed = self._fixed_size()
        side = self._side or 640
        size = (fixed[0] or side, fixed[1] or side)
        grey = np.full((3, *size), _PROBE_GREY / 255, np.float32)
        outputs = self._run(grey, Placement(size, (1.0, 1.0), (0, 0), size))
        layout = find_layout(outputs, name, str(self.path))
        return layout, layout.classes(outputs) or 0

    def _fixed_size(self) -> tuple[int | None, int | None]:
        return self._image.shape[-2], self._image.shape[-1]

    def _run(self, planes: NDArray[np.float32], where: Placement, least: float = 0.0) -> Outputs:
        array = planes if len(self._image.shape) == 3 else planes[None]
        feeds: dict[str, NDArray[Any]] = {self._image.name: array.astype(self._image.dtype, copy=False)}
        if self._size_port is not None:  # (width, height); of the input, so that its boxes are px of the input
            sizes = np.array([where.size[::-1]], self._size_port.dtype)
            feeds[self._size_port.name] = sizes.reshape(sizes.shape[-len(self._size_port.shape) :])
        arrays = {name: _as_float(values) for name, values in self._graph.run(feeds).items()}
        return Outputs(arrays, where.size, self._size_port is not None, self._count, self._task, least)

    def _usual_names(self, count: int) -> tuple[str, ...]:
        """COCO's, by category or in sequence, if the layout has as many classes."""
        if self.layout.name == "torchvision":
            return COCO_CATEGORIES
        if self.layout.name == "rtdetr":
            return COCO_CLASSES
        if count == len(COCO_CLASSES):
            return COCO_CLASSES
        if count == len(COCO_CATEGORIES) and self.layout.name in ("rf-detr", "detr"):
            return COCO_CATEGORIES
        if not count:
            return COCO_CLASSES
        raise ValueError(
            f"{self.path} has {count} class{'es' if count > 1 else ''} and does not name them: state their names "
            f"(detector.class_names)"
        )


def _as_float(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _suppress(boxes: NDArray[Any], scores: NDArray[Any], ids: NDArray[Any], limits: DetectorLimits) -> NDArray[Any]:
    """Places of the boxes that stay, strongest first: of each class apart."""
    import cv2

    if not len(boxes):
        return np.zeros(0, np.int64)
    rectangles: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    strengths: Any = scores
    classes: Any = ids.astype(np.int32)
    kept = cv2.dnn.NMSBoxesBatched(rectangles, strengths, classes, 0.0, limits.iou)
    return np.sort(np.asarray(kept, np.int64).ravel())


def _image_port(inputs: Sequence[Port], path: Path) -> Port:
    """The input for the image."""
    found = [port for port in inputs if len(port.shape) in (3, 4) and port.shape[-3] in (3, None)]
    if len(found) != 1:
        shapes = ", ".join(f"{port.name} {'x'.join(str(size or '?') for size in port.shape)}" for port in inputs)
        raise ValueError(f"{path}: expected one input for images, 1 x 3 x height x width, got {shapes or 'none'}")
    port = found[0]
    if len(port.shape) == 4 and port.shape[0] not in (1, None):
        raise ValueError(f"{path} takes {port.shape[0]} images at once, expected one: export it with a batch of 1")
    if port.dtype not in ("float32", "float16"):
        raise ValueError(f"{path}: its input {port.name} is {port.dtype}, expected float32 or float16")
    return port


def _size_port(inputs: Sequence[Port], image: Port, path: Path) -> Port | None:
    """The input for the size of the image, which RT-DETR's own exports have."""
    others = [port for port in inputs if port is not image]
    if not others:
        return None
    numbers = ("int64", "int32", "float32")
    if len(others) > 1 or others[0].dtype not in numbers or others[0].shape[-1:] not in ((2,), (None,)):
        raise ValueError(
            f"{path} has inputs {', '.join(port.name for port in inputs)}: expected an image, and at most the size of "
            f"the original image (1 x 2: width, height) beside it"
        )
    return others[0]


def _longer_side(metadata: Mapping[str, str]) -> int:
    """The input's longer side that Ultralytics states, px; 0: not stated."""
    value = _literal(metadata.get("imgsz", ""))
    sizes = [value] if isinstance(value, int) else value
    if isinstance(sizes, list | tuple) and sizes and all(isinstance(s, int) and 0 < s <= 8192 for s in sizes):
        return max(sizes)
    return 0


def _stored_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The class names in a file, as a dictionary of numbers or a list; empty: there are none."""
    value = _literal(metadata.get("names", ""))
    if isinstance(value, Mapping):
        try:
            value = [value[key] for key in sorted(value, key=int)]
        except (TypeError, ValueError):
            return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def load_detector(
    path: str | Path,
    layout: str = "",
    class_names: Sequence[str] = (),
    engine: str = AUTO,
    device: str = AUTO,
    threads: int | None = None,
) -> Detector:
    """Loads a detector from an ONNX file.

    Args:
        path: The file.
        layout: Key of `detector_layouts.LAYOUTS`; '': recognised by the outputs.
        class_names: In the order of the outputs; empty: from the file's metadata, or COCO's where the number fits.
        engine: As in `load_engine`; those that run torch's networks count as 'auto'.
        device: 'auto', 'cpu', 'cuda', …
        threads: CPU threads; None: as many as cores.

    Returns:
        The detector, which has run once.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: Neither OpenVINO nor ONNX Runtime is installed, or not the chosen one.
        ValueError: The file cannot be used; one sentence.
    """
    graph = open_graph(Path(path), engine, EngineOptions(device=device, threads=threads))
    return Detector(Path(path), graph, layout, class_names)
