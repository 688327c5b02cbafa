# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings, sqlite3 and mcap, read and written without a ROS installation (by the `rosbags` library)."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from centertrack_ros.io.errors import DataError

# Definitions that no distribution's core holds: package -> its folder in this source tree.
_EXTRA_PACKAGES = {"vision_msgs": "compat/vision_msgs/msg", "centertrack_ros": "msg"}
_STORAGE_SUFFIXES = (".mcap", ".db3")
_REPAIR = "a recording that was cut short can be repaired with `ros2 bag reindex` or `mcap recover`"


def _rosbags(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"rosbags.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("rosbags"):
            raise
        raise ImportError("reading and writing bags needs the rosbags library: pip install rosbags") from None


def is_bag(path: Path | str) -> bool:
    """Whether `path` looks like a rosbag2: a folder with metadata.yaml or storage files in it, or a storage file."""
    path = Path(path)
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_storage_files(path))
    return path.suffix in _STORAGE_SUFFIXES


def _storage_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _STORAGE_SUFFIXES and file.is_file())


def definition_folders(package: str) -> list[Path]:
    """Folders in which a package's .msg files may lie: this source tree, sourced prefixes, the Python environment."""
    source = Path(__file__).resolve().parents[2] / _EXTRA_PACKAGES.get(package, package)
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    return [source, *(Path(prefix) / "share" / package / "msg" for prefix in prefixes)]


@lru_cache(maxsize=1)
def message_types() -> Any:
    """A `rosbags` Typestore with the core messages, vision_msgs and this package's own.

    The core is Humble's, the oldest distribution supported: the messages used here are the same in all later ones.
    `message_types().types["sensor_msgs/msg/Image"]` is the class to build a message from.
    """
    typesys = _rosbags("typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    definitions: dict[str, Any] = {}
    for package in _EXTRA_PACKAGES:
        folder = next((folder for folder in definition_folders(package) if any(folder.glob("*.msg"))), None)
        for file in sorted(folder.glob("*.msg")) if folder else ():
            definitions.update(
                typesys.get_types_from_msg(file.read_text(encoding="utf-8"), f"{package}/msg/{file.stem}")
            )
    store.register(definitions)
    return store


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its message type ('sensor_msgs/msg/Image'), how many messages, the QoS of its publishers."""

    name: str
    type: str
    count: int
    qos: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Record:
    """One message of a bag as it is stored: serialised (CDR), with the time in ns at which it was recorded."""

    topic: str
    type: str
    time_ns: int
    data: bytes


class BagReader:
    """Reads a rosbag2: a bag's folder, or one storage file (.mcap, .db3) alone. Use it in a `with` statement.

    Opening raises FileNotFoundError, or DataError for what is not a bag, is truncated or is a ROS 1 bag.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: no such bag")
        if self.path.suffix == ".bag":
            raise DataError(self.path, "a ROS 1 bag; convert it first: rosbags-convert --src IN.bag --dst OUT")
        if not is_bag(self.path):
            raise DataError(self.path, "not a rosbag2: expected a folder with metadata.yaml, or an .mcap or .db3 file")
        self._reader: Any = None
        self.topics: dict[str, Topic] = {}
        self.start_ns = self.end_ns = 0

    def __enter__(self) -> BagReader:
        highlevel = _rosbags("highlevel")
        whole = self.path.is_file() or (self.path / "metadata.yaml").is_file()
        paths = [self.path] if whole else _storage_files(self.path)
        try:
            reader = highlevel.AnyReader(paths, default_typestore=message_types())
            reader.open()
        except Exception as error:  # whatever a broken file makes the library raise
            raise DataError(self.path, f"not a readable rosbag2 ({_sentence(error)}); {_REPAIR}") from None
        self._reader = reader
        for name, info in reader.topics.items():
            connection = info.connections[0]
            qos = tuple(connection.ext.offered_qos_profiles)
            self.topics[name] = Topic(name, connection.msgtype, info.msgcount, qos)
        if reader.message_count:
            self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._reader = None

    def require(self, topic: str) -> Topic:
        """The topic of that name. Raises DataError listing those that there are."""
        if topic not in self.topics:
            raise DataError(self.path, f"no topic '{topic}'; the bag has {self.listing()}")
        return self.topics[topic]

    def listing(self) -> str:
        """The topics for a message to the user, each as 'name (type, count)'."""
        items = (f"{topic.name} ({topic.type}, {topic.count})" for topic in self.topics.values())
        return ", ".join(items) or "no topics at all"

    def of_type(self, *types: str) -> list[Topic]:
        """The topics that carry one of these message types and have messages."""
        return [topic for topic in self.topics.values() if topic.type in types and topic.count]

    def records(self, topics: Iterable[str] | None = None) -> Iterator[Record]:
        """Messages in recorded order, of these topics or of all. Raises DataError where the bag is broken."""
        names = None if topics is None else set(topics)
        connections = [c for c in self._reader.connections if names is None or c.topic in names]
        if not connections:
            return
        try:
            for connection, time_ns, data in self._reader.messages(connections):
                yield Record(connection.topic, connection.msgtype, time_ns, bytes(data))
        except DataError:
            raise
        except Exception as error:
            raise DataError(self.path, f"broken in the middle ({_sentence(error)}); {_REPAIR}") from None

    def decode(self, record: Record) -> Any:
        """The message as an object with ROS's field names; numbers in arrays are NumPy arrays. Raises DataError."""
        try:
            return self._reader.deserialize(record.data, record.type)
        except Exception as error:
            problem = f"a message on '{record.topic}' does not hold a {record.type} ({_sentence(error)})"
            raise DataError(self.path, problem) from None

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[tuple[Record, Any]]:
        """Each record with its decoded message."""
        for record in self.records(topics):
            yield record, self.decode(record)

    def definition(self, topic: str) -> str | None:
        """The message definition as the bag holds it, for writing the topic to another bag; None when it holds none."""
        connection = next(c for c in self._reader.connections if c.topic == topic)
        return connection.msgdef.data or None


class BagWriter:
    """Writes a new rosbag2 folder. Leaving its `with` statement, by an error too, finishes the files."""

    def __init__(self, path: Path | str, storage: str = "mcap") -> None:
        """Creates the bag.

        Args:
            path: The folder.
            storage: 'mcap' or 'sqlite3'.

        Raises:
            FileExistsError: `path` exists.
            OSError: It cannot be written.
        """
        rosbag2 = _rosbags("rosbag2")
        if storage not in ("mcap", "sqlite3"):
            raise ValueError(f"storage must be 'mcap' or 'sqlite3', got '{storage}'")
        self.path = Path(path)
        if self.path.exists():
            raise FileExistsError(f"{self.path}: exists already, a bag is not overwritten")
        # Version 8 is the newest whose metadata Humble and Jazzy read as well.
        self._writer = rosbag2.Writer(self.path, version=8, storage_plugin=rosbag2.StoragePlugin[storage.upper()])
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add_topic(self, name: str, type_name: str, qos: Sequence[Any] = (), source: BagReader | None = None) -> None:
        """Announces a topic.

        Args:
            name: Of the topic.
            type_name: Its message type.
            qos: The profiles of its publishers.
            source: The bag that it is copied from, which may hold a definition that is unknown here.
        """
        if name in self._connections:
            return
        definition = {"typestore": message_types()}
        connection = next((c for c in source._reader.connections if c.topic == name), None) if source else None
        if connection is not None and connection.msgdef.data and connection.digest:
            definition = {"msgdef": connection.msgdef.data, "rihs01": connection.digest}
        elif type_name not in message_types().fielddefs:
            raise ValueError(f"topic '{name}': message type '{type_name}' is not known here, it cannot be recorded")
        self._connections[name] = self._writer.add_connection(name, type_name, offered_qos_profiles=qos, **definition)

    def write(self, topic: str, message: Any, time_ns: int, type_name: str | None = None) -> None:
        """Appends a message: CDR bytes, or an object built from `message_types()`, which carries its type."""
        if isinstance(message, bytes | memoryview):
            data: bytes | memoryview = message
        else:
            type_name = message.__msgtype__
            data = message_types().serialize_cdr(message, type_name)
        if topic not in self._connections:
            if type_name is None:
                raise ValueError(f"topic '{topic}': call add_topic first, serialised bytes do not carry their type")
            self.add_topic(topic, type_name)
        self._writer.write(self._connections[topic], time_ns, data)


def time_message(time_ns: int) -> Any:
    """The builtin_interfaces/Time of a time in ns."""
    sec, nanosec = divmod(time_ns, 1_000_000_000)
    return message_types().types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
