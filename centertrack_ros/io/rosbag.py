# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings, sqlite3 and mcap, read and written without a ROS installation (by the `rosbags` library)."""

from __future__ import annotations

import enum
import heapq
import importlib
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from centertrack_ros.io import bag_files
from centertrack_ros.io.errors import DataError, sentence
from centertrack_ros.io.file_kinds import ROS1, ZSTANDARD
from centertrack_ros.io.mcap_records import unpacked

# Definitions that no distribution's core holds: package -> its folder in this source tree.
_EXTRA_PACKAGES = {
    "vision_msgs": "compat/vision_msgs/msg",
    "centertrack_ros": "msg",
    "autoware_perception_msgs": "compat/autoware_perception_msgs/msg",
}
_SERIALIZATIONS = ("cdr", "")

_LOG = logging.getLogger(__name__)
_said: set[str] = set()  # a verb opens its bag several times


def _rosbags(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"rosbags.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("rosbags"):
            raise
        raise ImportError("reading and writing bags needs the rosbags library: pip install rosbags") from None


def is_bag(path: Path | str) -> bool:
    """Whether `path` looks like a rosbag2: a folder with storage files or their metadata.yaml, or a storage file."""
    path = Path(path)
    return bag_files.is_bag_folder(path) if path.is_dir() else bag_files.is_storage(path.name)


def bags_inside(path: Path) -> list[str]:
    """Names of the bags in a folder that holds nothing but folders."""
    if not path.is_dir():
        return []
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return sorted(e.name for e in entries if is_bag(e)) if all(entry.is_dir() for entry in entries) else []


def bag_name(path: Path | str) -> str:
    """What results are named after: the folder, or the file without its suffixes."""
    resolved = Path(path).resolve()
    return resolved.name if resolved.is_dir() else Path(resolved.name.removesuffix(".zstd")).stem


def definition_folders(package: str) -> list[Path]:
    """Folders in which a package's .msg files may lie: this source tree, sourced prefixes, the Python environment."""
    source = Path(__file__).resolve().parents[2] / _EXTRA_PACKAGES.get(package, package)
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    return [source, *(Path(prefix) / "share" / package / "msg" for prefix in prefixes)]


@lru_cache(maxsize=1)
def message_types() -> Any:
    """A `rosbags` Typestore with the core messages, vision_msgs, Autoware's objects and this package's own.

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
    """Reads a rosbag2: a bag's folder, or one storage file alone, also a compressed one. Use it in a `with` statement.

    Unfinished recordings are read as far as they go; what is missing is a logged warning. Opening raises
    FileNotFoundError, or DataError for what is not a bag, broken or a ROS 1 bag.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: no such bag")
        if self.path.suffix == ".bag" and not self.path.is_dir():  # `ros2 bag record -o NAME.bag` makes a folder
            raise DataError(self.path, ROS1)
        if not is_bag(self.path):
            raise DataError(self.path, _not_a_bag(self.path))
        self._readers: list[Any] = []
        self._stores: dict[str, Any] = {}
        self._staged = bag_files.Staged()  # keeps the temporary files
        self.topics: dict[str, Topic] = {}
        self._second_types: set[tuple[str, str]] = set()
        self.start_ns = self.end_ns = 0

    def __enter__(self) -> BagReader:
        rosbag2 = _rosbags("rosbag2")
        self._staged = bag_files.stage(self.path)
        try:
            for file in self._staged.files:
                reader = rosbag2.Reader(file)
                reader.open()
                self._readers.append(reader)
        except Exception as error:  # whatever a broken file makes the library raise
            self.__exit__()
            problem = sentence(error).replace(str(file), file.name)
            raise DataError(self.path, f"{bag_files.UNREADABLE} ({problem}){_cure(file)}") from None
        self._learn_topics()
        full = [reader for reader in self._readers if reader.message_count]
        if full:
            self.start_ns = min(reader.start_time for reader in full)
            self.end_ns = max(reader.end_time for reader in full) - 1
        self._say(sum(reader.message_count for reader in full))
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()
        self._readers, self._stores = [], {}

    def _connections(self, names: Container[str] | None = None) -> Iterator[tuple[Any, list[Any]]]:
        """Each file's reader with its connections, as the library calls the topics of a file."""
        for reader in self._readers:
            usable = [c for c in reader.connections if c.ext.serialization_format in _SERIALIZATIONS]
            usable = [c for c in usable if (c.topic, c.msgtype) not in self._second_types]
            yield reader, [c for c in usable if names is None or c.topic in names]

    def _learn_topics(self) -> None:
        found: dict[str, list[Any]] = {}
        for _, connections in self._connections():
            for connection in connections:
                found.setdefault(connection.topic, []).append(connection)
        for name, every in sorted(found.items()):
            kind = max(every, key=lambda c: c.msgcount).msgtype
            own = [c for c in every if c.msgtype == kind]
            self._second_types |= {(name, c.msgtype) for c in every if c.msgtype != kind}
            qos = tuple(own[0].ext.offered_qos_profiles)
            self.topics[name] = Topic(name, own[0].msgtype, sum(c.msgcount for c in own), qos)

    def _say(self, count: int) -> None:
        """Logs, once, what is missing."""
        notes = list(self._staged.notes)
        notes += [
            f"'{name}' has messages of two types: those of {kind} are left out"
            for name, kind in sorted(self._second_types)
        ]
        odd = {c.ext.serialization_format for r in self._readers for c in r.connections} - set(_SERIALIZATIONS)
        if odd:
            notes.append(f"topics left out, whose messages are not CDR but {', '.join(sorted(odd))}")
        if self._staged.count is not None and self._staged.count > count:
            notes.append(f"{bag_files.METADATA} counts {self._staged.count} messages, the files hold {count}")
        for note in notes:
            if (line := f"{self.path}: {note}") not in _said:
                _said.add(line)
                _LOG.warning("%s", line)

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
        try:
            parts = [reader.messages(own) for reader, own in self._connections(names) if own]
            for connection, time_ns, data in heapq.merge(*parts, key=itemgetter(1)):
                # No CDR message begins as Zstandard's data do: its first byte is 0.
                content = unpacked(data) if data[:4] == ZSTANDARD else bytes(data)
                yield Record(connection.topic, connection.msgtype, time_ns, content)
        except DataError:
            raise
        except Exception as error:
            problem = f"broken in the middle ({sentence(error)}){_cure(self._staged.files[0])}"
            raise DataError(self.path, problem) from None

    def decode(self, record: Record) -> Any:
        """The message as an object with ROS's field names; numbers in arrays are NumPy arrays. Raises DataError."""
        store = self._store(record.type)
        if field := _differing_field(store, record.type):
            problem = (
                f"'{record.topic}' has another version of {record.type}: its field '{field}' is missing or differs"
            )
            raise DataError(self.path, problem)
        try:
            return store.deserialize_cdr(record.data, record.type)
        except Exception as error:
            problem = f"a message on '{record.topic}' does not hold a {record.type} ({sentence(error)})"
            raise DataError(self.path, problem) from None

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[tuple[Record, Any]]:
        """Each record with its decoded message."""
        for record in self.records(topics):
            yield record, self.decode(record)

    def definition(self, topic: str) -> str | None:
        """The message definition as the bag holds it, for writing the topic to another bag; None when it holds none."""
        return self._definition(self.topics[topic].type)[0] or None

    def _definition(self, type_name: str) -> tuple[str, str]:
        """The definition of a type as the bag has it, and its format, 'MSG' or 'IDL'; '' where there is none."""
        for _, connections in self._connections():
            for connection in connections:
                if connection.msgtype == type_name and connection.msgdef.data:
                    return connection.msgdef.data, connection.msgdef.format.name
        return "", ""

    def _store(self, type_name: str) -> Any:
        """A Typestore that knows the type as the bag defines it, else as it is known here."""
        if type_name not in self._stores:
            self._stores[type_name] = _store_of(type_name, *self._definition(type_name))
        return self._stores[type_name]

    def type_definition(self, type_name: str) -> dict[str, Any]:
        """What `Writer.add_connection` needs to know of a type.

        A type that neither the bag nor this package defines has an empty definition: its messages are copied as they
        are.
        """
        store = self._store(type_name)
        text, _ = self._definition(type_name)
        if type_name not in store.fielddefs:
            text = "# The recording that this was copied from has no definition of this type."
            store = _store_of(type_name, text, "MSG")
        if not text or store is message_types():
            return {"typestore": store}
        return {"msgdef": text, "rihs01": store.hash_rihs01(type_name)}


def _store_of(type_name: str, text: str, form: str) -> Any:
    """A Typestore for a type's definition; `message_types()` for none, or one that cannot be understood."""
    typesys = _rosbags("typesys")
    if not text:
        return message_types()
    store, definitions = typesys.get_typestore(typesys.Stores.EMPTY), {}
    try:
        if form == "IDL":
            for part in _idl_parts(text):
                definitions.update(typesys.get_types_from_idl(part))
        else:
            definitions.update(typesys.get_types_from_msg(text, type_name))
        store.register(definitions)
        store.hash_rihs01(type_name)  # fails where a type that it contains is missing
    except Exception:  # of a grammar of its own
        return message_types()
    return store


@lru_cache(maxsize=64)
def _differing_field(store: Any, type_name: str) -> str:
    """The first field of a message type as it is known here that a bag's Typestore defines otherwise; '' for none.

    Fields that only the bag knows do no harm. Versions of this package's own messages only add fields.
    """
    known = message_types()
    if store is known or type_name not in known.fielddefs or type_name.startswith("centertrack_ros/"):
        return ""
    theirs = dict(store.fielddefs[type_name][1])
    for name, kind in known.fielddefs[type_name][1]:
        if theirs.get(name) != kind:
            return str(name)
        if (inner := _element(kind)) in known.fielddefs and (field := _differing_field(store, inner)):
            return f"{name}.{field}"
    return ""


def _element(kind: Any) -> str:
    """The name of the type that a field of a Typestore holds, alone or in lists."""
    while not isinstance(kind, str):
        kind = kind[1] if isinstance(kind[0], enum.Enum) else kind[0]
    return kind


def _idl_parts(text: str) -> list[str]:
    """The IDL of each type in a definition that strings them together, as rosbag2 does."""
    rule = "=" * 80 + "\n"
    if not text.startswith(f"{rule}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(rule)[1:]]


def _not_a_bag(path: Path) -> str:
    """What there is instead of a bag."""
    if inside := bags_inside(path):
        return f"a folder with {len(inside)} bags ({', '.join(inside[:3])}{', …' * (len(inside) > 3)}); name one"
    expected = "expected a folder with metadata.yaml, or an .mcap or .db3 file"
    return f"not a rosbag2: {expected}"


def _cure(file: Path) -> str:
    """What may help with a storage file that is damaged."""
    return f"; {bag_files.RECOVER}" if file.suffix == ".db3" else "; what is left of it can be read by: mcap recover"


class BagWriter:
    """Writes a new rosbag2 folder. Leaving its `with` statement, by an error too, finishes the files.

    Only a bag that could not be written, as on a full disk, is left without its end, so that it does not look whole.
    """

    def __init__(self, path: Path | str, storage: str = "mcap") -> None:
        """Creates the bag.

        Args:
            path: The folder.
            storage: 'mcap' or 'sqlite3'.

        Raises:
            FileExistsError: `path` exists.
            ValueError: The name of the folder cannot be written into the bag.
            OSError: It cannot be written.
        """
        rosbag2 = _rosbags("rosbag2")
        if storage not in ("mcap", "sqlite3"):
            raise ValueError(f"storage must be 'mcap' or 'sqlite3', got '{storage}'")
        self.path = Path(path)
        if self.path.exists():
            raise FileExistsError(f"{self.path}: exists already, a bag is not overwritten")
        if not self.path.name.isprintable():
            raise ValueError(f"{self.path.name!r}: a bag repeats its name in its metadata; expected one in UTF-8")
        # Version 8 is the newest whose metadata Humble and Jazzy read as well.
        self._writer = _writer(rosbag2)(self.path, version=8, storage_plugin=rosbag2.StoragePlugin[storage.upper()])
        self._connections: dict[str, Any] = {}
        self.failed = False  # it could not be written

    def __enter__(self) -> BagWriter:
        try:
            with self._writing():
                self._writer.open()
        except OSError:
            if self.path.is_dir():
                self.discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self.failed:
            with self._writing():
                self._writer.close()
        else:
            with suppress(Exception):
                self._writer.abort()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Names the bag in the errors of the disk, after which it is not finished."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self.failed = True
            with suppress(Exception):
                self._writer.abort()
            raise OSError(f"{self.path}: cannot be written: {sentence(error)}") from None

    def discard(self) -> None:
        """Removes the bag, so that it does not stand in the way of the next try. It must not be written to any more."""
        self.failed = True
        shutil.rmtree(self.path, ignore_errors=True)

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
        if source is not None and name in source.topics:
            definition = source.type_definition(type_name)
        elif type_name not in message_types().fielddefs:
            raise ValueError(f"topic '{name}': message type '{type_name}' is not known here, it cannot be recorded")
        with self._writing():
            connection = self._writer.add_connection(name, type_name, offered_qos_profiles=qos, **definition)
        self._connections[name] = connection

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
        with self._writing():
            self._writer.write(self._connections[topic], time_ns, data)


def _writer(rosbag2: Any) -> Any:
    """The library's Writer; a database opens by its path, whose `#`, `?` and `%` mean something in an address."""
    storage: Any = importlib.import_module("rosbags.rosbag2.storage_sqlite3").Sqlite3Writer

    class PathSqlite3Writer(storage):
        def __init__(self, path: Path, _: Any) -> None:
            self.path = path / f"{path.name}.db3"
            self.conn = sqlite3.connect(self.path)
            self.conn.executescript(self.SQLITE_SCHEMA)
            self.cursor = self.conn.cursor()

    class Writer(rosbag2.Writer):
        STORAGE_PLUGINS: ClassVar = {**rosbag2.Writer.STORAGE_PLUGINS, rosbag2.StoragePlugin.SQLITE3: PathSqlite3Writer}

    return Writer


def time_message(time_ns: int) -> Any:
    """The builtin_interfaces/Time of a time in ns."""
    sec, nanosec = divmod(time_ns, 1_000_000_000)
    return message_types().types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
