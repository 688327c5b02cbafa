# SPDX-License-Identifier: Apache-2.0
"""The outputs of `centertrack track`: text and video, written as the frames come, and the figures at the end."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from centertrack_ros.cli._output_names import claim_name, prepare_folder
from centertrack_ros.datasets.mot import classes_written
from centertrack_ros.datasets.mot_stream import MotStream
from centertrack_ros.io.source_base import DEFAULT_RATE
from centertrack_ros.types import Frame, FrameResult
from centertrack_ros.visualization.drawing import LabelSides, Trails, annotation_of, draw
from centertrack_ros.visualization.foxglove_log import FoxgloveLog
from centertrack_ros.visualization.rerun_log import RerunLog
from centertrack_ros.visualization.video import VideoWriter
from centertrack_ros.visualization.views import ViewMaker

_TIMED_FRAMES = 1000  # the last ones, of which the median is shown


class TrackOutputs:
    """Writes the results of a run. What it remembers does not grow with the number of frames.

    Use it in a `with` statement, which finishes the files; after an error they hold the frames up to it.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        folder: Path,
        origin: str = "",
        rate: float = DEFAULT_RATE,
        text: bool = False,
        video: bool = False,
        draw_3d: bool = False,
        rerun: Path | None = None,
        rerun_viewer: bool = False,
        foxglove: Path | None = None,
    ) -> None:
        """Opens the files.

        Args:
            name: Of the input, and of the files unless results of another input have it.
            classes: Names of the model's classes.
            folder: For the files.
            origin: What tells this input from others of the same name.
            rate: Frames/s of the video.
            text: Write NAME.txt.
            video: Write NAME.webm.
            draw_3d: Draw 3D boxes into the video too.
            rerun: File for the Rerun viewer.
            rerun_viewer: Show the frames in a Rerun viewer.
            foxglove: File for Foxglove.

        Raises:
            OSError: A file cannot be written.
            ImportError: The library of a viewer is not installed.
        """
        self._name, self._classes, self._draw_3d = name, classes, draw_3d
        self._stack, self._trails, self._sides = ExitStack(), Trails(), LabelSides()
        self._text: MotStream | None = None
        self._video: VideoWriter | None = None
        if text or video:
            prepare_folder(folder)
            stem = claim_name(folder, name.replace("/", "_"), origin, (".txt", ".webm"))
            if text:
                self._text = self._stack.enter_context(MotStream(folder / f"{stem}.txt", classes))
            if video:
                self._video = self._stack.enter_context(VideoWriter(folder / f"{stem}.webm", rate))
        self._logs: list[RerunLog | FoxgloveLog] = []
        for path in filter(None, (rerun, foxglove)):
            prepare_folder(path.parent)
        if rerun is not None:
            self._logs.append(self._stack.enter_context(RerunLog(name, rerun)))
        if rerun_viewer:
            self._logs.append(self._stack.enter_context(RerunLog(name, None)))
        if foxglove is not None:
            self._logs.append(self._stack.enter_context(FoxgloveLog(foxglove)))
        self._views = ViewMaker(classes)
        self._frames = self._tracks = 0
        self._boxes: Counter[int] = Counter()  # class id -> number
        self._known: set[int] = set()  # ids of the tracks that exist and have been counted
        self._timings: dict[str, deque[float]] = {}

    def __enter__(self) -> TrackOutputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Writes the results of a frame.

        Raises:
            OSError: They cannot be written.
        """
        seen = result.tracks.select(np.flatnonzero(result.tracks.hits > 0))
        if self._text is not None:
            self._text.write(frame.index, seen)
        if self._video is not None:
            annotation = annotation_of(seen, self._classes)
            self._trails.update(annotation, frame.stamp)
            caption = f"frame {frame.index}   {len(annotation)} objects"
            camera = frame.camera if self._draw_3d else None
            self._video.write(draw(frame.image, annotation, self._trails, camera, caption, sides=self._sides))
        if self._logs:
            view = self._views.make(frame, result)
            for log in self._logs:
                log.add(view)
        self._count(seen.ids.tolist(), seen.detections.class_ids.tolist(), result)

    def _count(self, ids: list[int], class_ids: list[int], result: FrameResult) -> None:
        self._frames += 1
        self._tracks += len(set(ids) - self._known)
        self._known = (self._known | set(ids)) & set(result.tracks.ids.tolist())
        self._boxes.update(class_ids)
        if self._frames > 1 or not self._timings:  # the first frame pays for what is made once
            if self._frames == 2:
                self._timings.clear()
            for stage, milliseconds in result.timing_ms.items():
                self._timings.setdefault(stage, deque(maxlen=_TIMED_FRAMES)).append(milliseconds)

    def report(self, engine: str) -> None:
        """Prints what was found and where it is.

        Args:
            engine: Name of the engine that ran the network.
        """
        print(f"{self._name}: {self._frames} frames, {self._tracks} tracks, {self._boxes.total()} boxes")
        if self._boxes:
            print(classes_written(self._classes, self._boxes))
        if self._timings:
            stages = {stage: float(np.median(values)) for stage, values in self._timings.items()}
            parts = ", ".join(f"{stage} {value:.1f}" for stage, value in stages.items())
            total = sum(stages.values())
            print(f"ms per frame (median, {engine}): {parts}, together {total:.1f} ({1e3 / total:.1f} frames/s)")
        if self._text is None and self._video is None and not self._logs:
            print("nothing saved: --save-video and --save-txt write the results")
        for output in (self._text, self._video):
            if output is not None and output.path.exists():  # without frames there is no video
                print(output.path)
        for log in self._logs:
            if log.path is not None:
                print(log.path)
