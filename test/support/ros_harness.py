# SPDX-License-Identifier: Apache-2.0
"""Real processes for the ROS tests.

`start_node` runs the tracker in a process of its own (`Process`). A `Probe` is a ROS node in the process of the test:
it publishes a camera's topics and keeps every message that the tracker publishes. `TransformPublisher` adds TF. The
functions at the end build messages from arrays and stamps; a stamp is a pair (seconds, nanoseconds).

Delivery: the tracker subscribes to images with best-effort QoS by default, so that an image may get lost on a busy
machine. A test that counts on the arrival of each image passes `RELIABLE` to `start_node`. A test that needs best
effort and still counts on an arrival carries the marker `best_effort` with its reason. `TORCH` selects the engine that
needs no export; `test_life_cycle` and a few others run the default engine.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_clip import demo_frames as demo_frames
from centertrack_ros.geometry.transform import Transform
from support.shared_memory import owned_shared_memory as owned_shared_memory
from support.shared_memory import remove_shared_memory_of_the_dead as remove_shared_memory_of_the_dead

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0  # a loaded machine imports torch slowly
RELIABLE = "camera.reliability:=reliable"
# Ready at once: unless their exports are cached, the faster engines keep all cores busy for half a minute.
TORCH = "model.engine:=torch"
# From the moment at which the probe knows a best-effort subscriber until that subscriber surely knows the probe.
DISCOVERY_S = 0.5

# Pose in the vehicle (x ahead, y left, z up) of a camera (x right, y down, z ahead) that looks ahead.
CAMERA_MOUNT = Transform(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.5, 0.2, 1.6]))

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value | None], timeout: float, what: str) -> Value:
    """Polls until `condition` returns a true value.

    Args:
        condition: called every 10 ms.
        timeout: s.
        what: what the test waits for, for the error.

    Returns:
        The first true value.

    Raises:
        AssertionError: there was none within `timeout`.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(0.01)
    return value


class Process:
    """A child process whose output, standard error included, is kept line by line in `lines`.

    `started` lists every process of the test run, so that a fixture can end those which a failed test left.
    """

    started: ClassVar[list[Process]] = []

    def __init__(self, command: Sequence[str], start_new_session: bool = False, **environment: str) -> None:
        """Starts `command`; `environment` extends the variables of this process."""
        Process.started.append(self)
        self.lines: list[str] = []
        self._child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=start_new_session,
            env={**os.environ, "RCUTILS_LOGGING_BUFFERED_STREAM": "0", "PYTHONUNBUFFERED": "1", **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._child.poll() is None

    def logged(self, words: str, start: int = 0) -> list[str]:
        """The lines that contain `words`, from line number `start` on."""
        return [line for line in self.lines[start:] if words in line]

    def wait_for_line(self, words: str, start: int = 0, timeout: float = 20.0) -> str:
        """Waits for a line that contains `words`, from line number `start` on, and returns it.

        Raises:
            AssertionError: no such line came within `timeout` s; the text holds the output.
        """
        try:
            return wait_until(lambda: self.logged(words, start), timeout, f"a line with '{words}'")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; the output was:\n" + "\n".join(self.lines[start:])) from None

    def send(self, number: int) -> None:
        """Sends the signal `number`."""
        self._child.send_signal(number)

    def end(self, number: int = signal.SIGTERM, timeout: float = 10.0) -> tuple[int, float]:
        """Sends the signal `number`, waits for the end and returns (exit code, duration in s).

        Raises:
            AssertionError: the process still ran after `timeout` s; it is killed then.
        """
        start = time.monotonic()
        if self.alive:
            self._child.send_signal(number)
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise AssertionError(f"the process still ran {timeout:g} s after signal {number}") from None
        self._reader.join(5.0)
        return code, time.monotonic() - start


def launch_node(*parameters: str, name: str = "centertrack", more: Sequence[str] = (), **environment: str) -> Process:
    """Starts the tracker without waiting for it.

    Args:
        *parameters: 'name:=value'; the network gets one thread unless they say otherwise.
        name: of the ROS node.
        more: further arguments behind --ros-args.
        **environment: further environment variables.
    """
    command = [sys.executable, str(ROOT / "bin" / "centertrack_node"), "--ros-args", "-r", f"__node:={name}"]
    for parameter in ("model.threads:=1", *parameters):
        command += ["-p", parameter]
    return Process([*command, *more], **environment)


def start_node(
    *parameters: str,
    name: str = "centertrack",
    ready: str = "model ",
    more: Sequence[str] = (),
    **environment: str,
) -> Process:
    """As `launch_node`, but returns once the tracker has logged a line that contains `ready`."""
    process = launch_node(*parameters, name=name, more=more, **environment)
    process.wait_for_line(ready, timeout=START_S)
    return process


def stop_node(process: Process) -> None:
    """Ends the tracker with SIGTERM and asserts exit code 0 and a log without tracebacks."""
    code, _ = process.end()
    tracebacks = process.logged("Traceback")
    assert not tracebacks and code == 0, "\n".join(process.lines)


class Probe:
    """A ROS node in the process of the test: publishes a camera's topics, keeps what the tracker publishes.

    Attributes:
        node: the rclpy node; a thread spins it.
        prefix: the tracker's full name, to which relative topics are appended.
        images: publisher of raw images.
        infos: publisher of camera_info.
        received: the messages of each subscribed topic, in the order of their arrival.
    """

    def __init__(self, node_name: str = "centertrack", camera: str = "", outputs: Sequence[str] = ()) -> None:
        """Connects to the tracker `node_name`; `camera` is '' for its only camera, `outputs` are topics to keep."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self.node = rclpy.create_node(f"probe_{os.getpid()}_{id(self) % 10**6}")
        self.prefix = f"/{node_name}"
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._subscribed: list[str] = []
        self._clients: dict[str, Any] = {}
        part = f"/{camera}" if camera else ""
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self.images = self.node.create_publisher(Image, f"{self.prefix}/input{part}/image", reliable)
        self.infos = self.node.create_publisher(CameraInfo, f"{self.prefix}/input{part}/camera_info", reliable)
        self._compressed: Any = None
        self._compressed_args = (CompressedImage, f"{self.prefix}/input{part}/image/compressed", reliable)
        for topic in outputs:
            self.subscribe(topic)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._running = True
        self._thread.start()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):  # a failed test may leave its probe open
            while self._running:
                self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """Stops the thread and destroys the node."""
        self._running = False
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    @property
    def compressed(self) -> Any:
        """The publisher of compressed images. Made on first use: the tracker subscribes to what is published."""
        if self._compressed is None:
            self._compressed = self.node.create_publisher(*self._compressed_args)
        return self._compressed

    def renew_compressed(self) -> None:
        """Replaces the publisher of compressed images, as a camera driver that starts again does."""
        self.node.destroy_publisher(self.compressed)
        self._compressed = None
        assert self.compressed

    def subscribe(self, topic: str, kind: Any = None, qos: Any = 50) -> None:
        """Keeps the messages of `topic` in `received[topic]`.

        Args:
            topic: relative to the tracker ('output/detections_3d') or absolute.
            kind: message class; None: the one of the tracker's topic of that name.
            qos: QoS profile, or the depth of a reliable one.
        """
        name = topic if topic.startswith("/") else f"{self.prefix}/{topic}"
        self.node.create_subscription(kind or kind_of(topic), name, self.received[topic].append, qos)
        self._subscribed.append(name)

    def wait_for_node(self, publisher: Any = None) -> None:
        """Waits until the tracker and this publisher (default: of raw images) have found each other.

        A reliable subscriber gets everything that is published after the publisher knows it. A best-effort subscriber
        may get to know the publisher a moment later, and loses what comes before: hence the pause.
        """
        from rclpy.qos import ReliabilityPolicy

        publisher = publisher or self.images
        wait_until(publisher.get_subscription_count, 20.0, "the node to subscribe to images")
        deadline = time.monotonic() + 5.0  # the tracker publishes nothing on a topic without a known subscriber
        while not all(map(self.node.count_publishers, self._subscribed)) and time.monotonic() < deadline:
            time.sleep(0.02)
        infos = self.node.get_subscriptions_info_by_topic(publisher.topic_name)
        if not infos or any(info.qos_profile.reliability != ReliabilityPolicy.RELIABLE for info in infos):
            time.sleep(DISCOVERY_S)

    def calibrate(self, width: int = 768, height: int = 576, **changes: Any) -> None:
        """Publishes a camera_info, with some fields changed, until the tracker surely has it.

        The tracker subscribes to camera_info with best effort: it is sent three times within 0.3 s.
        """
        message = camera_info_message(width, height)
        for name, value in changes.items():
            setattr(message, name, value)
        wait_until(self.infos.get_subscription_count, 20.0, "the node to subscribe to camera_info")
        for _ in range(3):
            self.infos.publish(message)
            time.sleep(0.1)

    def show(self, image: NDArray[Any], stamp: tuple[int, int]) -> None:
        """Publishes an image with its calibration, as a camera driver does."""
        self.infos.publish(camera_info_message(image.shape[1], image.shape[0], stamp))
        self.images.publish(image_message(image, stamp))

    def call(self, service: str, kind: Any, **fields: Any) -> Any:
        """Calls a service of the tracker (or one with an absolute name) with these request fields.

        Returns:
            The response.
        """
        name = service if service.startswith("/") else f"{self.prefix}/{service}"
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            assert self._clients[name].wait_for_service(20.0), f"no service {service}"
            time.sleep(0.3)  # the service must know the client too, or its response gets lost
        future = self._clients[name].call_async(kind.Request(**fields))
        wait_until(future.done, 20.0, f"the response of {service}")
        return future.result()

    def set_parameters(self, **values: Any) -> list[Any]:
        """Sets parameters of the tracker; the result of each says whether and why not."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return list(self.call("set_parameters", SetParameters, parameters=parameters).results)

    def change_state(self, transition: int) -> bool:
        """Asks for a life-cycle transition (lifecycle_msgs/Transition); whether it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        return bool(self.call("change_state", ChangeState, transition=Transition(id=transition)).success)

    def status(self, name: str, start: int = 0) -> tuple[Any, dict[str, str]] | None:
        """The newest status `name` on /diagnostics with its values by key, from message number `start` on."""
        for message in reversed(self.received["/diagnostics"][start:]):
            for status in message.status:
                if status.name == name:
                    return status, {v.key: v.value for v in status.values}
        return None

    def next_status(self, name: str) -> tuple[Any, dict[str, str]]:
        """As `status`, of the next message."""
        start = len(self.received["/diagnostics"])
        return wait_until(lambda: self.status(name, start), 10.0, f"diagnostics of {name}")

    def settled_counts(self, name: str) -> dict[str, int]:
        """A camera's counts of images by fate, once none waits or is in work.

        Args:
            name: of the camera's status on /diagnostics.
        """
        kinds = ("received", "processed", "dropped", "rejected")

        def settled() -> dict[str, int] | None:
            _, values = self.next_status(name)
            counts = {kind: int(values[kind]) for kind in kinds}
            return counts if counts["received"] == sum(counts[kind] for kind in kinds[1:]) else None

        return wait_until(settled, 20.0, "received = processed + dropped + rejected")

    def wait_for_message(self, topic: str, stamp: tuple[int, int], timeout: float = 20.0) -> Any:
        """The message on `topic` with this stamp; waits up to `timeout` s for it."""

        def find() -> Any:
            return next((m for m in list(self.received[topic]) if stamp_of(m) == stamp), None)

        return wait_until(find, timeout, f"{topic} at {stamp}")


def kind_of(topic: str) -> Any:
    """The message class of one of the tracker's topics, or of /diagnostics."""
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import Image
    from std_msgs.msg import Float64
    from vision_msgs.msg import Detection2DArray, Detection3DArray
    from visualization_msgs.msg import MarkerArray

    name = topic.rsplit("/", 1)[-1]
    if name in ("tracks", "timing"):
        from centertrack_ros import msg

        return {"tracks": msg.TrackArray, "timing": msg.FrameTiming}[name]
    kinds = {"detections_3d": Detection3DArray, "detections_2d": Detection2DArray, "markers": MarkerArray}
    kinds |= {"image": Image, "prior_heatmap": Image, "diagnostics": DiagnosticArray, "metrics": DiagnosticArray}
    return kinds.get(name, Float64)


def own_messages_built() -> bool:
    """Whether the package's own interfaces (centertrack_ros.msg) are installed here."""
    try:
        from centertrack_ros.msg import TrackArray  # noqa: F401
    except ImportError:
        return False
    return True


def stamp_of(message: Any) -> tuple[int, int]:
    """The stamp of a message with a header."""
    return message.header.stamp.sec, message.header.stamp.nanosec


def ids_of(message: Any) -> set[str]:
    """The ids in a Detection2DArray or Detection3DArray."""
    return {detection.id for detection in message.detections}


class CameraClock:
    """Stamps at the rate of a camera."""

    def __init__(self, start: float | None = None, rate: float = 10.0) -> None:
        """`start`: s since 1970, None for the present; `rate`: Hz."""
        self.now = time.time() if start is None else start
        self.step = 1.0 / rate

    def tick(self) -> tuple[int, int]:
        """The next stamp."""
        self.now += self.step
        return int(self.now), int(self.now % 1.0 * 1e9)


def header(stamp: tuple[int, int], frame_id: str = "camera_optical") -> Any:
    """A std_msgs/Header."""
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)


def image_message(image: NDArray[Any], stamp: tuple[int, int]) -> Any:
    """A sensor_msgs/Image of an array (H, W, 3) BGR, uint8."""
    from sensor_msgs.msg import Image

    message = Image(header=header(stamp), encoding="bgr8", height=image.shape[0], width=image.shape[1])
    message.step = image.shape[1] * 3
    message.data = array.array("B", image.tobytes())
    return message


def compressed_message(data: bytes, stamp: tuple[int, int]) -> Any:
    """A sensor_msgs/CompressedImage of a JPEG file."""
    from sensor_msgs.msg import CompressedImage

    return CompressedImage(header=header(stamp), format="bgr8; jpeg compressed bgr8", data=array.array("B", data))


def camera_info_message(width: int, height: int, stamp: tuple[int, int] = (1, 0)) -> Any:
    """A sensor_msgs/CameraInfo without distortion; the focal length is 1.2 widths."""
    from sensor_msgs.msg import CameraInfo

    info = CameraInfo(header=header(stamp), width=width, height=height, distortion_model="plumb_bob")
    focal = 1.2 * width
    info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.d = [0.0] * 5
    return info


class TransformPublisher:
    """Publishes on /tf and /tf_static, as a robot's state publisher and its odometry do."""

    def __init__(self, probe: Probe) -> None:
        """Publishes from the node of `probe`."""
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from tf2_msgs.msg import TFMessage

        self._kind = TFMessage
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.moving = probe.node.create_publisher(TFMessage, "/tf", 100)
        self.fixed = probe.node.create_publisher(TFMessage, "/tf_static", latched)

    def wait_for_node(self) -> None:
        """Waits until the tracker listens to both topics."""
        for publisher in (self.moving, self.fixed):
            wait_until(publisher.get_subscription_count, 10.0, f"the node to subscribe to {publisher.topic_name}")

    def publish(self, parent: str, child: str, pose: Transform, stamp: tuple[int, int] | None = None) -> None:
        """Publishes where frame `child` is in frame `parent`.

        Args:
            parent: name of the parent frame.
            child: name of the child frame.
            pose: of the child in the parent.
            stamp: None: a static transform.
        """
        from geometry_msgs.msg import TransformStamped

        message = TransformStamped(header=header(stamp or (0, 0), parent), child_frame_id=child)
        move, turn = message.transform.translation, message.transform.rotation
        move.x, move.y, move.z = pose.translation.tolist()
        turn.x, turn.y, turn.z, turn.w = pose.quaternion.tolist()
        (self.moving if stamp else self.fixed).publish(self._kind(transforms=[message]))
