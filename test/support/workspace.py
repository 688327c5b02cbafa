# SPDX-License-Identifier: Apache-2.0
"""The package as a robot has it: built with colcon in a workspace, used through the `ros2` command.

`build_workspace` makes a `Workspace`. What it starts sees the installed package, never this checkout. A `Camera`
publishes the demo clip as a driver does.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from support.ros_harness import ROOT, START_S, Process, camera_info_message, demo_frames, image_message, wait_until

PACKAGE = "centertrack_ros"
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_UNWANTED = (".*", "build", "install", "log", "dist", "out", "*.egg-info", "__pycache__")
# `ros2 launch` takes its time to look for the package, and a loaded machine to start Python twice.
COMMAND_S = 60.0


def build_workspace(folder: Path) -> Workspace:
    """Copies this checkout to `folder`/src and builds it with `colcon build`, as docs/installation.md says.

    Raises:
        AssertionError: colcon failed; the text holds its output.
    """
    sources = folder / "src" / PACKAGE
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(*_UNWANTED))
    variables = robot_variables()
    command = ["colcon", "build", "--packages-select", PACKAGE]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"colcon build failed\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    script = f". '{folder}/install/local_setup.bash' && env -0"
    listed = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, check=True).stdout
    return Workspace(folder, dict(line.split("=", 1) for line in listed.split("\0") if "=" in line))


def robot_variables() -> dict[str, str]:
    """The environment without this checkout, and without the messages that `make` builds for it."""
    variables = {k: v for k, v in os.environ.items() if k not in (*PROFILES, "CENTERTRACK_ENVIRONMENT")}
    for name in ("PATH", "PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH"):
        parts = [part for part in variables.get(name, "").split(os.pathsep) if part and not _is_ours(Path(part))]
        if parts:
            variables[name] = os.pathsep.join(parts)
        else:
            variables.pop(name, None)
    return variables


def _is_ours(path: Path) -> bool:
    return path in (ROOT, ROOT / "bin", ROOT / "test") or f"/ros/install/{PACKAGE}" in str(path)


@dataclass(frozen=True)
class Answer:
    """What a command has printed on standard output and on standard error, and its exit code.

    Fast DDS may write there, too: on standard error.
    """

    code: int
    out: str
    error: str

    @property
    def text(self) -> str:
        """Both outputs."""
        return f"{self.out}\n{self.error}"


@dataclass(frozen=True)
class Workspace:
    """A built workspace.

    Attributes:
        folder: of the workspace.
        variables: the environment after `. install/local_setup.bash`.
    """

    folder: Path
    variables: dict[str, str]

    @cached_property
    def engine(self) -> str:
        """An engine that needs no export, which would keep a small machine busy for half a minute."""
        return "openvino" if self.run("python3", "-c", "import torch").code else "torch"

    @property
    def share(self) -> Path:
        """The installed share folder of the package."""
        return self.folder / "install" / PACKAGE / "share" / PACKAGE

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process, in the domain that the tests have chosen."""
        domain = {n: os.environ[n] for n in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE") if n in os.environ}
        return {**self.variables, **domain, "RCUTILS_LOGGING_BUFFERED_STREAM": "0", "PYTHONUNBUFFERED": "1"}

    def ros2(self, *arguments: str, timeout: float = COMMAND_S) -> Answer:
        """Runs `ros2 ARGUMENTS` to its end."""
        return self.run("ros2", *arguments, timeout=timeout)

    def run(self, *command: str, timeout: float = COMMAND_S) -> Answer:
        """Runs a command to its end.

        Raises:
            subprocess.TimeoutExpired: it still ran after `timeout` s.
        """
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())

    def watch(self, *arguments: str, seconds: float) -> str:
        """What `ros2 ARGUMENTS` prints until Ctrl+C ends it after `seconds`."""
        process = self.start("ros2", *arguments)
        time.sleep(seconds)
        process.end(signal.SIGINT)
        return "\n".join(process.lines)

    def start(self, *command: str, **variables: str) -> Process:
        """Starts a command in the workspace, in a session of its own: a signal to one process reaches no other."""
        environment = {**self.environment, **variables}
        unset = [part for name in os.environ if name not in environment for part in ("-u", name)]
        return Process(["env", "-C", str(self.folder), *unset, *command], start_new_session=True, **environment)

    @contextlib.contextmanager
    def launched(self, file: str, *options: str, ready: str = "model ", **arguments: str) -> Iterator[Process]:
        """`ros2 launch` of one of our files; ends with SIGINT, as from a terminal, and takes exit code 0 for granted.

        Args:
            file: 'centertrack', 'surround' or 'replay'.
            *options: of `ros2 launch`.
            ready: words of the log line to wait for.
            **arguments: of the file.
        """
        process = self.start("ros2", "launch", *options, PACKAGE, f"{file}.launch.py", *assigned(arguments))
        try:
            wait_until(lambda: process.logged(ready) or not process.alive, START_S, f"a line with '{ready}'")
            assert process.logged(ready), "\n".join(process.lines)
            yield process
        finally:
            try:
                code, _ = process.end(signal.SIGINT, timeout=20.0)
            finally:
                with contextlib.suppress(ProcessLookupError):  # nodes that it has left behind
                    os.killpg(process.pid, signal.SIGKILL)
        assert code == 0, "\n".join(process.lines)


def assigned(values: dict[str, str]) -> list[str]:
    """Values as launch arguments: name:=value."""
    return [f"{name}:={value}" for name, value in values.items()]


def pid_of_node(process: Process, executable: str = "centertrack_node") -> int:
    """The process id of the newest node that `ros2 launch` has started."""
    found = re.findall(rf"{executable}-\d+\]: process started with pid \[(\d+)\]", "\n".join(process.lines))
    return int(found[-1])


def command_line(pid: int) -> list[str]:
    """The arguments of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def variables_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    items = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(item.split("=", 1) for item in items if "=" in item)


def is_running(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Camera:
    """A camera driver in the process of the test: the demo clip with its calibration, at an even rate, in a loop."""

    def __init__(
        self, image: str = "/centertrack/input/image", info: str = "", rate: float = 10.0, reliable: bool = True
    ) -> None:
        """Starts to publish.

        Args:
            image: topic of the images.
            info: topic of the calibration; '': camera_info beside the images.
            rate: Hz.
            reliable: the QoS that is offered for images, else best effort.
        """
        import rclpy
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, Image

        offered = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.node = rclpy.create_node(f"camera_driver_{id(self) % 10**6}")
        self._images = self.node.create_publisher(Image, image, QoSProfile(depth=5, reliability=offered))
        self._infos = self.node.create_publisher(CameraInfo, info or f"{image.rpartition('/')[0]}/camera_info", 5)
        self._frames, self._period = demo_frames(8), 1.0 / rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        due = time.monotonic()
        for number in itertools.count():
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            due += self._period
            now, frame = time.time_ns(), self._frames[number % len(self._frames)]
            stamp = (now // 10**9, now % 10**9)
            self._infos.publish(camera_info_message(frame.shape[1], frame.shape[0], stamp))
            self._images.publish(image_message(frame, stamp))

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.node.destroy_node()


def parameters_of(workspace: Workspace, node: str) -> dict[str, Any]:
    """The node's parameters as `ros2 param dump` gives them: name -> value.

    Raises:
        AssertionError: it gave none.
    """
    answer = workspace.ros2("param", "dump", node)
    assert answer.code == 0, answer.text
    [content] = yaml.safe_load(answer.out).values()
    return flat(content["ros__parameters"])


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parameter name -> value, of the tree in a parameter file."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return items
