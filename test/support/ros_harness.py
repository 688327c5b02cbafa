"""Real processes for the tests: the node in one of its own, and a probe that publishes to it and hears it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.demo_clip import demo_frames as demo_frames

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0  # a loaded machine imports torch slowly


def wait_until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """The first true value of `condition`. Fails the test, saying `what` was waited for, after `timeout` s."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(0.01)
    return value


class Process:
    """A child whose output is kept line by line."""

    started: ClassVar[list[Process]] = []

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        Process.started.append(self)
        self.lines: list[str] = []
        self._child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
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
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def logged(self, words: str, start: int = 0) -> list[str]:
        """The lines, from the `start`-th on, in which these words stand."""
        return [line for line in self.lines[start:] if words in line]

    def wait_for_line(self, words: str, start: int = 0, timeout: float = 20.0) -> str:
        try:
            return wait_until(lambda: self.logged(words, start), timeout, f"a line with '{words}'")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; the output was:\n" + "\n".join(self.lines[start:])) from None

    def end(self, number: int = signal.SIGTERM, timeout: float = 10.0) -> tuple[int, float]:
        """(exit code, seconds that it took)."""
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


def start_node(*parameters: str, name: str = "centertrack", ready: str = "model ", **environment: str) -> Process:
    """The node in a process of its own, up to the line that has `ready` in it. parameters: 'name:=value', …"""
    command = [sys.executable, str(ROOT / "bin" / "centertrack_node"), "--ros-args", "-r", f"__node:={name}"]
    for parameter in ("model.threads:=1", *parameters):
        command += ["-p", parameter]
    process = Process(command, **environment)
    process.wait_for_line(ready, timeout=START_S)
    return process


def shared_memory(pid: int) -> set[Path]:
    """The segments, its own and its peers', through which a process hears and is heard (Fast DDS on Linux)."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in maps if "/dev/shm/fast" in line and "_port" not in line}


def remove_shared_memory_of_the_dead() -> None:
    """What killed processes have left: 64 MB each with config/fastdds.xml, until no memory is left for the others.

    Who lives holds a lock on the file beside its segment. A new one may not have locked it yet: young ones stay.
    """
    for lock in Path("/dev/shm").glob("fast*_el"):
        with contextlib.suppress(OSError), lock.open() as file:
            if time.time() - lock.stat().st_mtime > 5.0:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
                lock.unlink()


def stop_node(process: Process) -> None:
    """Ends the node; whatever happened to it, it must not have left a traceback."""
    code, _ = process.end()
    tracebacks = process.logged("Traceback")
    assert not tracebacks and code == 0, "\n".join(process.lines)


class Probe:
    """A node in the test's process: publishes a camera's topics and keeps what the tracker publishes."""

    def __init__(self, node_name: str = "centertrack", camera: str = "", outputs: Sequence[str] = ()) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image

        self.node = rclpy.create_node(f"probe_{os.getpid()}_{id(self) % 10**6}")
        self.prefix = f"/{node_name}"
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._heard: list[str] = []
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
        self._running = False
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    @property
    def compressed(self) -> Any:
        """The publisher of compressed images, made when it is first asked for: the node looks at who publishes what."""
        if self._compressed is None:
            self._compressed = self.node.create_publisher(*self._compressed_args)
        return self._compressed

    def subscribe(self, topic: str, kind: Any = None, qos: Any = 50) -> None:
        """Keeps the messages of `topic` ('output/detections_3d', or an absolute name) in `received[topic]`."""
        name = topic if topic.startswith("/") else f"{self.prefix}/{topic}"
        self.node.create_subscription(kind or kind_of(topic), name, self.received[topic].append, qos)
        self._heard.append(name)

    def wait_for_node(self, publisher: Any = None) -> None:
        """Returns once the node and this publisher (of raw images, if none is given) have found each other."""
        wait_until((publisher or self.images).get_subscription_count, 20.0, "the node to subscribe to images")
        until = time.monotonic() + 5.0  # what nobody hears is not published
        while not all(map(self.node.count_publishers, self._heard)) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)  # the node must know the publisher too: what comes before is lost without a word

    def call(self, service: str, kind: Any, **fields: Any) -> Any:
        client = self.node.create_client(kind, service if service.startswith("/") else f"{self.prefix}/{service}")
        assert client.wait_for_service(20.0), f"no service {service}"
        time.sleep(0.3)  # the service must have found the client too, or its answer goes nowhere
        future = client.call_async(kind.Request(**fields))
        wait_until(future.done, 20.0, f"the answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def status(self, name: str, seen: int = 0) -> tuple[Any, dict[str, str]] | None:
        """The newest status of that name on /diagnostics, from the `seen`-th message on, and its values by key."""
        for message in reversed(self.received["/diagnostics"][seen:]):
            for status in message.status:
                if status.name in (name, f"{name}: node"):  # by diagnostic_updater where it is installed
                    return status, {v.key: v.value for v in status.values}
        return None

    def answer(self, topic: str, stamp: tuple[int, int], timeout: float = 20.0) -> Any:
        """The message on `topic` with this stamp (s, ns)."""

        def find() -> Any:
            return next((m for m in list(self.received[topic]) if stamp_of(m) == stamp), None)

        return wait_until(find, timeout, f"{topic} at {stamp}")


def kind_of(topic: str) -> Any:
    """The message type of one of the node's topics."""
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
    kinds |= {"image": Image, "prior_heatmap": Image, "diagnostics": DiagnosticArray}
    return kinds.get(name, Float64)


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


class CameraClock:
    """Stamps at a camera's rate, far from any other test's."""

    def __init__(self, start: float | None = None, rate: float = 10.0) -> None:
        self.now = time.time() if start is None else start
        self.step = 1.0 / rate

    def tick(self) -> tuple[int, int]:
        self.now += self.step
        return int(self.now), int(self.now % 1.0 * 1e9)


def header(stamp: tuple[int, int], frame_id: str = "camera_optical") -> Any:
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)


def image_message(picture: np.ndarray, stamp: tuple[int, int]) -> Any:
    from sensor_msgs.msg import Image

    message = Image(header=header(stamp), encoding="bgr8", height=picture.shape[0], width=picture.shape[1])
    message.step = picture.shape[1] * 3
    message.data = array.array("B", picture.tobytes())
    return message


def compressed_message(data: bytes, stamp: tuple[int, int]) -> Any:
    from sensor_msgs.msg import CompressedImage

    return CompressedImage(header=header(stamp), format="bgr8; jpeg compressed bgr8", data=array.array("B", data))


def camera_info_message(width: int, height: int, stamp: tuple[int, int] = (1, 0)) -> Any:
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
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from tf2_msgs.msg import TFMessage

        self._kind = TFMessage
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.moving = probe.node.create_publisher(TFMessage, "/tf", 100)
        self.fixed = probe.node.create_publisher(TFMessage, "/tf_static", latched)

    def publish(self, parent: str, child: str, pose: Any, stamp: tuple[int, int] | None = None) -> None:
        """`pose` is a geometry.transforms.Transform; without a stamp it holds for ever."""
        from geometry_msgs.msg import TransformStamped

        message = TransformStamped(header=header(stamp or (0, 0), parent), child_frame_id=child)
        move, turn = message.transform.translation, message.transform.rotation
        move.x, move.y, move.z = pose.translation.tolist()
        turn.x, turn.y, turn.z, turn.w = pose.quaternion.tolist()
        (self.moving if stamp else self.fixed).publish(self._kind(transforms=[message]))
