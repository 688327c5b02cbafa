"""The managed node `centertrack`: camera topics in, tracked objects out. The work is done in the modules beside it."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from centertrack_ros.ros.camera import Arrival, CameraStream
from centertrack_ros.ros.diagnostics import ERROR, OK, WARN, Diagnostics, Health, memory_of_device
from centertrack_ros.ros.frames import Frames, goal_of
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.mailbox import Mailbox, Worker
from centertrack_ros.ros.multi_camera import SurroundView, surround_config
from centertrack_ros.ros.parameters import Parameters, engine_of, names, tracker_config
from centertrack_ros.ros.processor import Channel, Processor
from centertrack_ros.ros.publishers import CameraOutputs
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.types import Frame, TrackState

# How long a deactivation waits for the frame in work. SIGTERM must end the process within 2 s.
_STOP_S = 1.0
_WATCH_PERIOD_S = 0.2

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class CenterTrackNode(LifecycleNode):
    """See docs/ros.md for topics, parameters and services."""

    def __init__(self, **options: Any) -> None:
        """`options` go to rclpy.node.Node. Raises ValueError or ParameterException for a bad parameter."""
        super().__init__("centertrack", **options)
        self._processor: Processor | None = None
        self._view: SurroundView | None = None
        self._worker: Worker[str, tuple[Channel, Arrival]] | None = None
        self._channels: list[Channel] = []
        self._mailbox: Mailbox[str, tuple[Channel, Arrival]] = Mailbox()
        self._enabled = True
        self._problem = ""  # why the last transition failed
        self.parameters = Parameters(self, lambda: self._processor is not None, self._apply)
        self._log = ThrottledLog(self.get_logger(), lambda: self.parameters["diagnostics.waiting_s"])
        self._frames = Frames(self, self.parameters, self._log)
        self._diagnostics = Diagnostics(self, self.parameters)
        self._message_types = _generated_messages()
        if self._message_types is None:
            self.get_logger().warning(
                "the interfaces of centertrack_ros are not built: ~/output/tracks and ~/debug/timing are off "
                "(colcon build or make turns them on)"
            )
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset_tracks", self._on_reset_tracks)
        # With use_sim_time and no /clock the node's own time stands still: trouble must be told all the same.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)
        self.create_timer(self.parameters["diagnostics.period_s"], self._diagnose, clock=steady)

    def autostart(self) -> None:
        """Configures and activates, unless the parameter says that somebody else does."""
        if self.parameters["autostart"] and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    # Transitions. An exception in one would be swallowed by rclpy: each tells what is wrong and fails instead.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the model and offers the topics. Fails, with a sentence, when the model or TF cannot be used."""
        try:
            problem = "cannot be configured"
            self._check(self.parameters)
            self._frames.prepare(self.parameters)
            problem = "cannot load the model"
            pipeline = self._load()
            problem = "cannot offer the topics"
            self._offer(pipeline)
        except Exception as error:  # torch, the file system, the driver and ROS each have their own
            self._problem = f"{problem}: {' '.join(str(error).split())[:600] or type(error).__name__}"
            self.get_logger().error(self._problem)
            self._free()
            return FAILURE
        self._problem = ""
        engine, profile = pipeline.engine, pipeline.engine.profile
        self.get_logger().info(
            f"model {profile.name} ({len(profile.classes)} classes, {profile.input_width}x{profile.input_height}) "
            f"on {engine.name}, {engine.device}"
        )
        if self.parameters["output.fixed_frame"] and not self.parameters["output.target_frame"]:
            self.get_logger().warning("output.fixed_frame has no effect without output.target_frame")
        if goal := self._frames.goal():
            self.get_logger().info(f"3D outputs in frame '{goal.target}', transforms by {self._frames.source}")
        return super().on_configure(state)

    def _check(self, values: Mapping[str, Any]) -> None:
        """Raises ValueError for parameters that do not go together, whatever the model."""
        tracker_config(values)
        surround_config(values)
        cameras = names(values["cameras"])
        if len(set(cameras)) != len(cameras):
            raise ValueError(f"each of the cameras needs a name of its own, got {', '.join(cameras)}")

    def _load(self) -> Pipeline:
        """The network that the parameters ask for, run once for each number of images that may come together."""
        engine = engine_of(self.parameters, background=True)
        pipeline = Pipeline(engine, tracker_config(self.parameters, engine.profile.trained_tracking))
        _warm_up(pipeline, max(len(names(self.parameters["cameras"])), 1))
        return pipeline

    def _offer(self, pipeline: Pipeline) -> None:
        """The topics of every camera, and of all together."""
        parameters, types, classes = self.parameters, self._message_types, pipeline.engine.profile.classes
        cameras = names(parameters["cameras"])
        for name in cameras or ("",):
            stream = CameraStream(self, name, parameters, self._log, self._arrived)
            self._channels.append(Channel(stream, CameraOutputs(self, name, classes, parameters, types)))
        self._view = SurroundView(self, cameras, classes, parameters, types) if len(cameras) > 1 else None
        if self._view is not None and self._frames.goal() is None:
            self.get_logger().info("no merged view of the cameras on ~/output: output.target_frame is not set")
        self._processor = Processor(pipeline, parameters, self._now, self._log, self._frames, self._view)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes, and starts to answer images."""
        assert self._processor is not None
        result = super().on_activate(state)
        self._worker = Worker(self._mailbox, self._processor.process)
        for channel in self._channels:
            channel.outputs.publish_labels(self._processor.pipeline.thresholds.track)
            channel.stream.subscribe()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops to listen and to publish; the model stays."""
        self.stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and its memory on the device."""
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where all can be tried again."""
        self.stop()
        self._free()
        return SUCCESS

    def stop(self) -> None:
        """Ends the work on images; safe in every state."""
        for channel in self._channels:
            channel.stream.unsubscribe()
        if self._worker is not None and not self._worker.stop(_STOP_S):
            self.get_logger().warning(f"the frame in work was given up after {_STOP_S:g} s")
        self._worker = None
        self._mailbox.take(0.0)

    def _free(self) -> None:
        for channel in self._channels:
            channel.outputs.destroy()
        if self._view is not None:
            self._view.destroy()
        self._frames.close()
        self._channels, self._processor, self._view = [], None, None
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # Callbacks

    def _arrived(self, stream: CameraStream, arrival: Arrival) -> None:
        channel = next((c for c in self._channels if c.stream is stream), None)
        if channel is None or not self._enabled:
            return
        stream.counts.add("received")
        if self._mailbox.put(stream.name, (channel, arrival)):
            stream.counts.add("dropped")

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = bool(request.data)
        response.success, response.message = True, "enabled" if self._enabled else "disabled: images are ignored"
        return response

    def _on_reset_tracks(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._begin_anew()
        response.success = bool(self._channels)
        response.message = "tracks begin anew with the next image" if self._channels else "the node is not configured"
        return response

    def _begin_anew(self) -> None:
        for channel in self._channels:
            channel.stream.reset_requested = True
        if self._view is not None:
            self._view.reset_requested = True

    def _apply(self, values: Mapping[str, Any]) -> None:
        """Puts new parameters in force; raises ValueError when the model cannot do what they ask for."""
        self._check(values)
        if self._processor is None:
            return
        engine = self._processor.pipeline.engine
        config = tracker_config(values, engine.profile.trained_tracking)
        self._frames.prepare(values)
        if self._view is not None and (goal_of(values) is None) != (self._frames.goal() is None):
            self._begin_anew()  # ids of single cameras and ids around the vehicle are counted apart
        if config != self._processor.pipeline.config:
            self._processor.pipeline = Pipeline(engine, config)

    def _watch(self) -> None:
        if self._worker is None:
            return
        for channel in self._channels:
            channel.stream.choose_transport()
            if self._enabled:
                channel.stream.report_waiting()

    def _diagnose(self) -> None:
        if self._processor is None:
            problem = self._problem or "waiting to be configured"
            self._diagnostics.publish(Health(ERROR if self._problem else WARN, problem, {}), ())
            return
        engine = self._processor.pipeline.engine
        values = {
            "model": engine.profile.name,
            "engine": engine.name,
            "device": engine.device,
            **memory_of_device(engine.device),
            "transforms": self._frames.source,
            "last error": self._log.last_error or "none",
            "last trouble": self._log.last_text or "none",
        }
        level, text = (
            (OK, "tracking") if self._worker and self._enabled else (WARN, "disabled" if self._worker else "inactive")
        )
        self._diagnostics.publish(Health(level, text, values), self._channels if self._worker else ())

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9


def _generated_messages() -> Any:
    with contextlib.suppress(ImportError):
        import centertrack_ros.msg as types

        if hasattr(types, "TrackArray"):
            return types
    return None


def _warm_up(pipeline: Pipeline, images: int) -> None:
    """Runs the network once for one image and for `images`: real frames are then as fast from the first one on, and
    a full GPU shows at once.
    """
    profile = pipeline.engine.profile
    # Where the input follows the image's shape an engine prepares itself for each new one: those that cameras have.
    shapes = ((480, 640), (360, 640), (400, 640)) if profile.resize == "keep_aspect" else ()
    for shape in shapes or ((profile.input_height, profile.input_width),):
        picture = np.zeros((*shape, 3), np.uint8)
        for count in sorted({1, images}):
            pipeline.step([Frame(picture, 0.0)] * count, [TrackState()] * count)
