"""What happens to the images that wait, on the worker's thread: decode, one step of the pipeline for all, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from centertrack_ros.geometry.affine import place
from centertrack_ros.ros.camera import Arrival, CameraStream
from centertrack_ros.ros.frames import Frames, Goal, Placed
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.multi_camera import Sight, SurroundView
from centertrack_ros.ros.publishers import CameraOutputs, Timing
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import Frame, FrameResult, Tracks, TrackState, VelocityFilters


@dataclass
class Channel:
    """One camera from its topic to its results."""

    stream: CameraStream
    outputs: CameraOutputs
    last_start: float = 0.0  # time.perf_counter(); 0: no frame yet
    stages: Mapping[str, float] = field(default_factory=dict)  # ms, of the last frame
    unreported_reset: str = ""  # why the tracks began anew in a frame that could not be published
    transform_trouble: str = ""  # why the last frame could not be published; '' if it was
    fixed_frame: str = ""  # in which its tracks' velocities are filtered


@dataclass
class _Job:
    channel: Channel
    header: Any
    frame: Frame
    age_ms: float
    decode_ms: float


@dataclass
class _Answer:
    """A job that is done: its results, and the frame in which they are told."""

    job: _Job
    result: FrameResult
    placed: Placed


class Processor:
    """Runs the images that wait, of whichever cameras, as one batch through the network."""

    def __init__(
        self,
        pipeline: Pipeline,
        parameters: Mapping[str, Any],
        now: Callable[[], float],
        log: ThrottledLog,
        frames: Frames,
        view: SurroundView | None = None,
    ) -> None:
        """`now` gives s on the node's clock. `pipeline` may be replaced: the next batch takes the new one.

        view  what several cameras see together
        """
        self.pipeline, self.view = pipeline, view
        self._parameters, self._now, self._log, self._frames = parameters, now, log, frames
        profile = pipeline.engine.profile
        # (height, width) of inputs that the log has told of, and of the weights' own.
        self._sizes = {(profile.input_height, profile.input_width)}

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
        if self._parameters["output.lazy"] and not self._wanted(channel):
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

    def _wanted(self, channel: Channel) -> bool:
        return channel.outputs.wanted() or (self.view is not None and self.view.wanted())

    def _step(self, jobs: list[_Job]) -> list[tuple[FrameResult, TrackState]]:
        self._tell_new_sizes(jobs)
        return self.pipeline.step([job.frame for job in jobs], [job.channel.stream.state for job in jobs])

    def _tell_new_sizes(self, jobs: list[_Job]) -> None:
        """Some engines prepare themselves for each size of their input: that is why its first frame takes longer."""
        profile = self.pipeline.engine.profile
        for job in jobs:
            height, width = job.frame.image.shape[:2]
            size = place(
                (height, width), (profile.input_height, profile.input_width), profile.resize, profile.down_ratio
            ).input_size
            if size not in self._sizes:
                self._sizes.add(size)
                self._log.info(
                    f"images of {width}x{height} px need a network input of {size[1]}x{size[0]} px: "
                    "the first one may take longer"
                )

    def _finish(self, jobs: list[_Job], results: list[tuple[FrameResult, TrackState]] | None, start: float) -> None:
        if results is None:
            for job in jobs:
                job.channel.stream.counts.add("rejected")
            return
        goal, until = self._frames.goal(), time.monotonic() + self._parameters["output.tf_timeout_s"]
        until -= time.perf_counter() - start  # a transform could arrive while the network worked
        answers = [
            answer
            for job, result in zip(jobs, results, strict=True)
            if (answer := self._guard(self._answer, job, *result, goal, until)) is not None
        ]
        if self.view is not None and goal is not None and answers:
            if self._guard(self._look_around, self.view, answers, goal) is None:  # without it their ids are not known
                for answer in answers:
                    answer.job.channel.stream.counts.add("rejected")
                return
            self._guard(self.view.publish)
        for answer in answers:
            answer.job.channel.stream.counts.add("processed")
            self._guard(self._publish, answer, start)

    def _answer(
        self, job: _Job, result: FrameResult, state: TrackState, goal: Goal | None, until: float
    ) -> _Answer | None:
        """What there is to publish; None if TF does not tell where the camera was."""
        channel, stream = job.channel, job.channel.stream
        stream.state = state
        if result.reset:
            self._log.warning(f"tracks of {stream.image_topic} reset: {result.reset}")
        reset = result.reset or channel.unreported_reset
        try:
            placed = self._frames.place(job.header, goal, until)
        except Exception as failure:  # LookupFailure, and whatever numbers beyond all measure lead to
            stream.counts.add("dropped")
            stream.counts.add("untransformed")
            channel.unreported_reset, channel.transform_trouble = reset, str(failure)
            self._log.warning(f"image on {stream.image_topic} dropped, no transform: {failure}")
            return None
        channel.unreported_reset, channel.transform_trouble = "", ""
        result = replace(
            result, tracks=self._filtered(channel, result.tracks, placed, goal, job.frame.stamp), reset=reset
        )
        return _Answer(job, result, placed)

    def _filtered(self, channel: Channel, tracks: Tracks, placed: Placed, goal: Goal | None, stamp: float) -> Tracks:
        """The tracks; with better velocities where it is known how the camera moves."""
        fixed, stream = goal.fixed if goal is not None else "", channel.stream
        if not fixed or placed.to_fixed is None:
            return tracks
        filters = stream.state.velocity_filters if fixed == channel.fixed_frame else VelocityFilters()
        tracks, filters = filter_velocities(filters, tracks, placed.to_fixed, stamp)
        channel.fixed_frame, stream.state = fixed, replace(stream.state, velocity_filters=filters)
        return tracks

    def _look_around(self, view: SurroundView, answers: list[_Answer], goal: Goal) -> list[_Answer]:
        """The answers, their tracks with the ids that they have in the view of all cameras."""
        sights = [Sight(a.job.channel.stream.name, a.job.frame.stamp, a.result.tracks, a.placed) for a in answers]
        for answer, tracks in zip(answers, view.step(sights, goal), strict=True):
            answer.result = replace(answer.result, tracks=tracks)
        return answers

    def _publish(self, answer: _Answer, start: float) -> None:
        job, channel, publish_start = answer.job, answer.job.channel, time.perf_counter()
        channel.outputs.publish(job.header, job.frame, answer.result, answer.placed)
        end, counts = time.perf_counter(), channel.stream.counts
        channel.stages = {
            "decode": job.decode_ms,
            **answer.result.timing_ms,
            "publish": (end - publish_start) * 1e3,
            "processing": (end - start) * 1e3,
            "latency": (self._now() - job.frame.stamp) * 1e3,
            "image_age": job.age_ms,
            "cyclic": (start - channel.last_start) * 1e3 if channel.last_start else 0.0,
        }
        channel.last_start = start
        timing = Timing(channel.stages, counts.received, counts.processed, counts.dropped)
        channel.outputs.publish_timing(job.header, timing)
