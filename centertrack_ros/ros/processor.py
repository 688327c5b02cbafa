"""What happens to the images that wait, on the worker's thread: decode, one step of the pipeline for all, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from centertrack_ros.ros.camera_stream import Arrival, CameraStream
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.outputs import CameraOutputs, Timing
from centertrack_ros.tracking.tracker import Frame, Pipeline
from centertrack_ros.tracking.types import FrameResult, TrackState


@dataclass
class Channel:
    """One camera from its topic to its results."""

    stream: CameraStream
    outputs: CameraOutputs
    last_start: float = 0.0  # time.perf_counter(); 0: no frame yet
    stages: Mapping[str, float] = field(default_factory=dict)  # ms, of the last frame


@dataclass
class _Job:
    channel: Channel
    header: Any
    frame: Frame
    age_ms: float
    decode_ms: float


class Processor:
    """Runs the images that wait, of whichever cameras, as one batch through the network."""

    def __init__(self, pipeline: Pipeline, parameters: Mapping[str, Any], now: Callable[[], float], log: ThrottledLog):
        """`now` gives s on the node's clock. `pipeline` may be replaced: the next batch takes the new one."""
        self.pipeline = pipeline
        self._parameters, self._now, self._log = parameters, now, log

    def process(self, waiting: Mapping[str, tuple[Channel, Arrival]]) -> None:
        """Answers each image that can be answered. Whatever fails costs its own frame only, and is logged in a line."""
        start = time.perf_counter()
        jobs = [job for channel, arrival in waiting.values() if (job := self._guard(self._decode, channel, arrival))]
        if not jobs:
            return
        results = self._guard(self._step, jobs)
        if results is None and len(jobs) > 1:  # one camera's trouble is not the others'
            for job in jobs:
                self._finish([job], self._guard(self._step, [job]), start)
        else:
            self._finish(jobs, results, start)

    def _guard(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except Exception as error:  # the node must outlive whatever an image or a device does
            self._log.error(f"a frame failed: {type(error).__name__}: {error}")
            return None

    def _decode(self, channel: Channel, arrival: Arrival) -> _Job | None:
        start, now = time.perf_counter(), self._now()
        stream = channel.stream
        if stream.reset_requested:
            stream.reset_requested, stream.state = False, TrackState()
            channel.outputs.clear(arrival.message.header)
        if self._parameters["output.lazy"] and not channel.outputs.wanted():
            stream.counts.add("dropped")
            return None
        try:
            frame = stream.frame(arrival, now)
        except Exception:  # told by the caller; the books must be right whatever happens
            stream.counts.add("rejected")
            raise
        if frame is None:
            return None
        decode_ms = (time.perf_counter() - start) * 1e3
        return _Job(channel, arrival.message.header, frame, (now - frame.stamp) * 1e3, decode_ms)

    def _step(self, jobs: list[_Job]) -> list[tuple[FrameResult, TrackState]]:
        return self.pipeline.step([job.frame for job in jobs], [job.channel.stream.state for job in jobs])

    def _finish(self, jobs: list[_Job], results: list[tuple[FrameResult, TrackState]] | None, start: float) -> None:
        if results is None:
            for job in jobs:
                job.channel.stream.counts.add("rejected")
            return
        for job, (result, state) in zip(jobs, results, strict=True):
            stream = job.channel.stream
            stream.state = state
            stream.counts.add("processed")
            if result.reset:
                self._log.warning(f"tracks of {stream.image_topic} reset: {result.reset}")
            self._guard(self._publish, job, result, start)

    def _publish(self, job: _Job, result: FrameResult, start: float) -> None:
        channel, publish_start = job.channel, time.perf_counter()
        channel.outputs.publish(job.header, job.frame, result)
        end, counts = time.perf_counter(), channel.stream.counts
        channel.stages = {
            "decode": job.decode_ms,
            **result.timing_ms,
            "publish": (end - publish_start) * 1e3,
            "processing": (end - start) * 1e3,
            "latency": (self._now() - job.frame.stamp) * 1e3,
            "image_age": job.age_ms,
            "cyclic": (start - channel.last_start) * 1e3 if channel.last_start else 0.0,
        }
        channel.last_start = start
        timing = Timing(channel.stages, counts.received, counts.processed, counts.dropped)
        channel.outputs.publish_timing(job.header, timing)
