# SPDX-License-Identifier: Apache-2.0
"""The managed node `centertrack`: image -> frame -> session -> publish. The work is done in the modules beside it."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from std_srvs.srv import SetBool, Trigger

from centertrack_ros.ros.autoware import require_autoware
from centertrack_ros.ros.box_input import BoxInput
from centertrack_ros.ros.camera import CameraInput, CameraPipeline, ImageMessage
from centertrack_ros.ros.declared_parameters import DeclaredParameters
from centertrack_ros.ros.diagnostics import ERROR, OK, WARN, Diagnostics, Health, memory_of_device
from centertrack_ros.ros.foreign_input import ForeignInput
from centertrack_ros.ros.frames import FrameTransforms
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.mailbox import Mailbox, Worker
from centertrack_ros.ros.messages import generated_messages
from centertrack_ros.ros.multi_camera import MergedViewPublishers
from centertrack_ros.ros.parameters import NodeParameters, detector_of, engine_of
from centertrack_ros.ros.publishers import UNNAMED, CameraPublishers, Timing
from centertrack_ros.ros.selection import Selection, selection_service
from centertrack_ros.ros.warm_up import warm_up
from centertrack_ros.tracking.config import NETWORK
from centertrack_ros.tracking.multi_camera.box_detector import DETECTOR
from centertrack_ros.tracking.results import POSE, STAMP, CameraPoses, CameraResult, Rejection
from centertrack_ros.tracking.session import TrackingSession
from centertrack_ros.types import Frame

# How long a deactivation waits for the frame in work. SIGTERM must end the process within 2 s.
_STOP_S = 1.0
_WATCH_PERIOD_S = 0.2

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class CenterTrackNode(LifecycleNode):
    """See docs/ros.md for topics, parameters and services."""

    def __init__(
        self, loading: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext, **options: Any
    ) -> None:
        """Declares the parameters.

        Args:
            loading: Surrounds what takes long and uses nothing of ROS: the model is loaded.
            **options: Go to rclpy.node.Node.

        Raises:
            ValueError, ParameterException: A parameter is bad.
        """
        # Parameters of single classes are declared when they are set; `DeclaredParameters` rejects all other names.
        super().__init__("centertrack", allow_undeclared_parameters=True, **options)
        self._loading = loading
        self._session: TrackingSession | None = None
        self._merged: MergedViewPublishers | None = None
        self._worker: Worker[str, ImageMessage | None] | None = None
        self._cameras: dict[str, CameraPipeline] = {}
        self._boxes: BoxInput | None = None
        self._mailbox: Mailbox[str, ImageMessage | None] = Mailbox()
        self._sizes: set[tuple[int, int]] = set()  # (height, width) of network inputs that have been logged
        self._enabled, self._activated = True, 0.0
        self._error = ""  # why the last transition failed
        self._declared = DeclaredParameters(self, lambda: self._session is not None, self._apply)
        self._log = ThrottledLog(self.get_logger(), lambda: self.parameters.diagnostics.waiting_s)
        self._transforms = FrameTransforms(self, self._log)
        self._diagnostics = Diagnostics(self, lambda: self.parameters.diagnostics)
        self._message_types = generated_messages()
        if self._message_types is None:
            self.get_logger().warning(
                "the interfaces of centertrack_ros are not built: ~/output/tracks and ~/debug/timing are off "
                "(colcon build or make turns them on)"
            )
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset_tracks", self._on_reset_tracks)
        self._selection = Selection(self, lambda: self.parameters.output.selected_frame, self._log)
        if (service := selection_service()) is not None:
            self.create_service(service, "~/select", self._selection.answer)
        # With use_sim_time and no /clock the node's own time stands still: problems must be reported all the same.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=self._steady)
        self._diagnosis = self._every(self.parameters.diagnostics.period_s)

    def _every(self, period: float) -> Timer:
        """The timer that publishes /diagnostics; period in s."""
        return self.create_timer(period, self._diagnose, clock=self._steady)

    @property
    def parameters(self) -> NodeParameters:
        """The parameters in force."""
        return self._declared.current

    def autostart(self) -> None:
        """Configures and activates, unless the parameter says that somebody else does."""
        if self.parameters.autostart and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    # Transitions. rclpy would swallow an exception in one: each logs what is wrong and fails instead.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model and offers the topics. Fails, with a sentence, when the model or TF cannot be used."""
        try:
            stage = "cannot be configured"
            _check(self.parameters)
            self._transforms.prepare(self.parameters.output.frames)
            stage = "cannot load the model"
            with self._loading():
                self._session = self._load()
            stage = "cannot offer the topics"
            self._offer(self._session)
        except Exception as error:  # torch, the file system, the driver and ROS each have their own
            self._error = f"{stage}: {' '.join(str(error).split())[:600] or type(error).__name__}"
            self.get_logger().error(self._error)
            self._free()
            return FAILURE
        self._error = ""
        engine, profile = self._session.pipeline.engine, self._session.pipeline.engine.profile
        self.get_logger().info(
            f"model {profile.name} ({len(profile.classes)} classes, {profile.input_text}) "
            f"on {engine.name}, {engine.device}"
        )
        output = self.parameters.output
        if output.fixed_frame and not output.target_frame:
            self.get_logger().warning("output.fixed_frame has no effect without output.target_frame")
        if output.frames.target:
            self.get_logger().info(
                f"3D outputs in frame '{output.frames.target}', transforms by {self._transforms.source}"
            )
        return super().on_configure(state)

    def _load(self) -> TrackingSession:
        """The network that the parameters ask for, run once (`warm_up`)."""
        detector = detector_of(self.parameters)
        engine = engine_of(self.parameters, background=True, detector=detector)
        session = TrackingSession(engine, self.parameters.session, detector)
        if detector is not None:
            self.get_logger().info(f"detector {detector.name}")
        warm_up(session.pipeline, len(session.config.cameras), self.parameters.model.image_shapes)
        profile = engine.profile
        self._sizes = {(profile.input_height, profile.input_width)}
        return session

    def _offer(self, session: TrackingSession) -> None:
        """The topics of every camera, and of all together."""
        types, classes = self._message_types, session.pipeline.engine.profile.classes
        autoware = require_autoware() if self.parameters.output.publish_autoware else None
        uuids = uuid.uuid4().hex
        for name in session.config.cameras:
            camera = CameraInput(self, name, lambda: self.parameters, self._log, self._received, self._transforms)
            foreign = None
            if session.config.tracker.detector_source != NETWORK and not self.parameters.detector.model:
                foreign = ForeignInput(self, name, lambda: self.parameters, self._log, self._forward, self._drop)
            apart = UNNAMED if session.config.boxes and not name else name
            self._cameras[name] = CameraPipeline(
                camera, CameraPublishers(self, name, classes, types, autoware, uuids, apart), foreign
            )
        if session.config.boxes:
            self._boxes = BoxInput(self, lambda: self.parameters, self._log, self._transforms, self._boxes_arrived)
        if len(self._cameras) > 1 or self._boxes is not None:
            self._merged = MergedViewPublishers(self, session.class_names, types, autoware, uuids)
            if not session.config.merges:
                self.get_logger().info("no merged view of the cameras on ~/output: output.target_frame is not set")
        self._selection.offer(session.config.cameras)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes, and starts to track."""
        assert self._session is not None
        result = super().on_activate(state)
        self._session.reset("the node was activated")
        self._activated = time.monotonic()
        self._worker = Worker(self._mailbox, self._process)
        for camera in self._cameras.values():
            camera.publishers.publish_labels(self._session.pipeline.thresholds.track)
            camera.input.subscribe()
            if camera.foreign is not None:
                camera.foreign.subscribe()
        if self._boxes is not None:
            self._boxes.subscribe()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops to listen and to publish; the model stays loaded."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and its memory on the device."""
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops, and frees the model."""
        self.stop()
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goes back to unconfigured, from where everything can be tried again."""
        self.stop()
        self._free()
        return SUCCESS

    def stop(self) -> None:
        """Ends the work on images; safe in every state."""
        for camera in self._cameras.values():
            camera.input.unsubscribe()
            if camera.foreign is not None:
                camera.foreign.unsubscribe()
        if self._boxes is not None:
            self._boxes.unsubscribe()
        if self._worker is not None and not self._worker.stop(_STOP_S):
            self.get_logger().warning(f"the frame in work was given up after {_STOP_S:g} s")
        self._worker = None
        self._mailbox.take(0.0)

    def destroy_node(self) -> None:
        """Destroys also what rclpy leaves to the garbage collector: the DDS participant would live as long."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _free(self) -> None:
        for camera in self._cameras.values():
            camera.publishers.destroy()
        if self._merged is not None:
            self._merged.destroy()
        self._selection.destroy()
        self._transforms.close()
        self._cameras, self._session, self._merged, self._boxes = {}, None, None, None
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # The way of an image

    def _received(self, name: str, message: ImageMessage) -> None:
        """On the executor's thread: the newest image of each camera waits for the worker."""
        camera = self._cameras.get(name)
        if camera is None or not self._enabled:
            return
        camera.input.counts.add("received")
        if camera.foreign is None:
            self._forward(name, message)
        else:
            camera.foreign.hold(message)

    def _forward(self, name: str, message: ImageMessage) -> None:
        if self._mailbox.put(name, message):
            self._drop(name)

    def _boxes_arrived(self) -> None:
        """On the executor's thread: the worker takes them at its next step."""
        if self._enabled:
            self._mailbox.put(DETECTOR, None)
        elif self._boxes is not None:
            self._boxes.forget()

    def _drop(self, name: str) -> None:
        self._cameras[name].input.counts.add("dropped")

    def _process(self, waiting: Mapping[str, ImageMessage | None]) -> None:
        """On the worker's thread, which must outlive whatever happens to an image."""
        try:
            self._track(waiting)
        except Exception as error:  # counted, so that the numbers add up
            self._failed(error)
            for camera in (self._cameras[name] for name in waiting if name in self._cameras):
                camera.input.counts.add("rejected")

    def _track(self, waiting: Mapping[str, ImageMessage | None]) -> None:
        """Images of whichever cameras to results. A failure costs its own frame only."""
        session, parameters, start = self._session, self.parameters, time.perf_counter()
        if session is None:
            return
        deadline = time.monotonic() + parameters.output.tf_timeout_s
        frames: dict[str, Frame] = {}
        decoded: dict[str, tuple[float, float]] = {}  # ms: decoding, age of the image at its start
        wanted = not parameters.output.lazy or any(map(self._has_subscribers, self._cameras.values()))
        boxes = () if self._boxes is None else self._boxes.take(wanted)
        images = {name: message for name, message in waiting.items() if message is not None}
        for name, message in images.items():
            begin, now_ns = time.perf_counter(), self.get_clock().now().nanoseconds
            if (frame := self._decode(name, message, now_ns or time.time_ns())) is not None:
                frames[name] = frame
                decoded[name] = ((time.perf_counter() - begin) * 1e3, _age_ms(now_ns, frame.stamp))
        self._log_new_sizes(session, frames)

        def poses(_: str, frame: Frame) -> CameraPoses:
            assert frame.header is not None
            return self._transforms.poses(frame.header, session.config.frames, deadline)

        result = session.step(frames, poses, boxes)
        if self._boxes is not None:
            self._boxes.done(len(boxes), result.box_notes)
        for rejection in result.rejected:
            self._report(rejection)
        if result.merged is not None and self._merged is not None:
            self._guard(self._merged.publish, result.merged, parameters.output)
            self._guard(self._selection.take_merged, result.merged)
        for one in result.cameras:
            self._guard(self._publish, one, parameters, start, decoded[one.camera])
            self._guard(self._selection.take, one, session.config.merges)

    def _decode(self, name: str, message: ImageMessage, now_ns: int) -> Frame | None:
        """The frame in a message; None, counted, if there is none or nobody wants one."""
        camera = self._cameras[name]
        camera.input.resting = self.parameters.output.lazy and not self._has_subscribers(camera)
        if camera.input.resting:
            camera.input.counts.add("dropped")
            return None
        try:
            frame = camera.input.frame(message, now_ns)
            return frame if frame is None or camera.foreign is None else camera.foreign.attach(frame, message)
        except Exception as error:  # the counts must add up whatever happens
            camera.input.counts.add("rejected")
            self._failed(error)
            return None

    def _has_subscribers(self, camera: CameraPipeline) -> bool:
        if self._selection.is_active or camera.publishers.has_subscribers():
            return True
        return self._merged is not None and self._merged.has_subscribers()

    def _guard(self, action: Callable[..., None], *arguments: Any) -> None:
        """Runs the action; logs what it raises."""
        try:
            action(*arguments)
        except Exception as error:  # the node must outlive whatever an image or a device does
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Logs what a frame has raised; one that was given up finds its publishers gone, which is no news."""
        if self._worker is not None:
            self._log.error(f"a frame failed: {type(error).__name__}: {error}")

    def _report(self, rejection: Rejection) -> None:
        """Counts and logs a frame without a result."""
        camera = self._cameras[rejection.camera]
        counts, topic = camera.input.counts, camera.input.image_topic
        if rejection.kind == STAMP:
            counts.add("dropped")
            self._log.warning(f"image on {topic} dropped: {rejection.reason}")
        elif rejection.kind == POSE:
            counts.add("dropped")
            counts.add("untransformed")
            camera.transform_error = rejection.reason
            self._log.warning(f"image on {topic} dropped, no transform: {rejection.reason}")
        else:
            counts.add("rejected")
            self._log.error(f"a frame failed: {rejection.reason}")

    def _publish(
        self, result: CameraResult, parameters: NodeParameters, start: float, decoded: tuple[float, float]
    ) -> None:
        """Publishes the result of one camera, and how long it took.

        start: time.perf_counter(), s, of the whole step; decoded: ms of decoding, and age of the image before it, ms
        """
        camera, publish_start = self._cameras[result.camera], time.perf_counter()
        counts = camera.input.counts
        camera.transform_error = ""
        counts.add("processed")
        if result.result.reset:
            self._log.warning(f"tracks of {camera.input.image_topic} reset: {result.result.reset}")
        for note in result.result.notes:
            self._log.warning(f"{camera.input.image_topic}: {note}")
        camera.publishers.publish(result, parameters.output)
        end = time.perf_counter()
        camera.stages = {
            "decode": decoded[0],
            **result.result.timing_ms,
            "publish": (end - publish_start) * 1e3,
            "processing": (end - start) * 1e3,
            "latency": _age_ms(self.get_clock().now().nanoseconds, result.frame.stamp),
            "image_age": decoded[1],
            "cyclic": (start - camera.last_start) * 1e3 if camera.last_start else 0.0,
        }
        camera.last_start = start
        shown = result.result
        camera.publishers.quality.watch(shown.tracks, result.frame.stamp, camera.stages["latency"], shown.reset)
        timing = Timing(camera.stages, counts.received, counts.processed, counts.dropped)
        camera.publishers.publish_timing(result.image_header, timing)

    def _log_new_sizes(self, session: TrackingSession, frames: Mapping[str, Frame]) -> None:
        """Some engines prepare themselves for each size of their input: that is why its first frame takes longer."""
        profile = session.pipeline.engine.profile
        for frame in frames.values():
            height, width = frame.image.shape[:2]
            size = profile.place((height, width)).input_size
            if size not in self._sizes:
                self._sizes.add(size)
                self._log.info(
                    f"images of {width}x{height} px need a network input of {size[1]}x{size[0]} px: "
                    "the first one may take longer"
                )

    # Services, parameters, timers

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = bool(request.data)
        response.success, response.message = True, "enabled" if self._enabled else "disabled: images are ignored"
        return response

    def _on_reset_tracks(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._session is None:
            response.success, response.message = False, "the node is not configured"
            return response
        self._session.reset("requested by ~/reset_tracks")
        response.success, response.message = True, "tracks are reset before the next image"
        return response

    def _apply(self, parameters: NodeParameters) -> None:
        """Puts new parameters in force; raises ValueError when the model cannot do what they ask for.

        Before the node is configured, values that do not go together are no error yet: `ros2 param load` sets them one
        by one, in the order of their names.
        """
        if self._session is not None:
            _check(parameters)
            self._transforms.prepare(parameters.output.frames)
            self._session.configure(replace(parameters.session, cameras=self._session.config.cameras))
        if (period := parameters.diagnostics.period_s) != self.parameters.diagnostics.period_s:
            self.destroy_timer(self._diagnosis)
            self._diagnosis = self._every(period)

    def _watch(self) -> None:
        if self._worker is None:
            return
        self._warn_of_time()
        for camera in self._cameras.values():
            camera.input.follow_publishers()
            if self._enabled:
                camera.input.report_waiting()
        if self._boxes is not None and self._enabled and (waiting := self._boxes.waiting_for()):
            self._log.warning(waiting)

    def _diagnose(self) -> None:
        if self._session is None:
            text = self._error or "waiting to be configured"
            self._diagnostics.publish(Health(ERROR if self._error else WARN, text, {}), ())
            return
        engine = self._session.pipeline.engine
        selected, lost = self._selection.status(self.parameters.diagnostics.max_age_s)
        values = {
            "model": engine.profile.name,
            "engine": engine.name,
            "device": engine.device,
            **memory_of_device(engine.device),
            "transforms": self._transforms.source,
            "selected object": selected,
            "last error": self._log.last_error or "none",
            "last trouble": self._log.last_text or "none",
        }
        level, text = (
            (OK, "tracking") if self._worker and self._enabled else (WARN, "disabled" if self._worker else "inactive")
        )
        if (boxes := self._boxes) is not None:
            values, lost = {**values, **boxes.values()}, lost or boxes.waiting_for() or boxes.problem
        if level == OK and lost:
            level, text = WARN, lost
        cameras = list(self._cameras.values()) if self._worker else []
        self._diagnostics.publish(Health(level, text, values), cameras)
        for camera in cameras:
            camera.publishers.quality.publish()

    def _warn_of_time(self) -> None:
        """Warns, once, when simulated time does not begin."""
        waiting = time.monotonic() - self._activated
        if self.get_clock().now().nanoseconds or waiting < self.parameters.diagnostics.waiting_s:
            return
        topic = self.resolve_topic_name("/clock")
        self._log.once(
            f"use_sim_time is true and nothing comes on {topic}: images are tracked by their stamps alone, "
            "and latencies are unknown"
        )


def _age_ms(now_ns: int, stamp: float) -> float:
    """Age of an image, ms; NaN before simulated time has begun, where the node's clock stands at 0."""
    return (now_ns * 1e-9 - stamp) * 1e3 if now_ns else math.nan


def _check(parameters: NodeParameters) -> None:
    """Raises ValueError for parameters that do not go together, whatever the model."""
    _ = parameters.session, parameters.model.image_shapes
