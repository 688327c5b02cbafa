# SPDX-License-Identifier: Apache-2.0
"""Mutations of bags behind a valid container: fields and bytes of messages, values of the tables of an sqlite3 file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from support.byte_mutations import cut, flip, grow, overwrite

_NUMBERS = (float("nan"), float("inf"), -1.0, 0.0, 1e18, 1e308, -1e308, 5e-324, 0.5)
_INTEGERS = (0, 1, -1, 2, 127, 255, 2**31 - 1, -(2**31), 2**32 - 1, 10**9, 2**63 - 1, 3 * 10**8)
_TEXTS = (
    "", "-1", "0", "9223372036854775808", "1e3", "²", "a/b", "/", "ü", "\x1b[2J", "x" * 5000, "bgr8", "16UC1", "jpeg",
)  # fmt: skip
_STATEMENTS = (
    "UPDATE topics SET type = 'std_msgs/msg/String'", "UPDATE topics SET type = 'unknown_msgs/msg/X'",
    "UPDATE topics SET type = ''", "UPDATE topics SET serialization_format = 'protobuf'",
    "UPDATE topics SET name = ''", "UPDATE topics SET name = 'x' WHERE id = 1", "UPDATE topics SET id = id + 7",
    "UPDATE topics SET offered_qos_profiles = '- a: ['", "UPDATE topics SET offered_qos_profiles = '- history: 99'",
    "UPDATE topics SET offered_qos_profiles = 'abc'", "UPDATE messages SET data = NULL",
    "UPDATE messages SET data = 'text'", "UPDATE messages SET data = 5", "UPDATE messages SET data = x''",
    "UPDATE messages SET data = x'00'", "UPDATE messages SET data = x'00010000'",
    "UPDATE messages SET timestamp = 'abc'", "UPDATE messages SET timestamp = NULL",
    "UPDATE messages SET timestamp = -5", "UPDATE messages SET timestamp = 1.5",
    "UPDATE messages SET timestamp = 9223372036854775807", "UPDATE messages SET timestamp = 0",
    "UPDATE messages SET topic_id = 99", "UPDATE messages SET topic_id = NULL", "UPDATE messages SET topic_id = 1",
    "DELETE FROM messages", "DELETE FROM topics", "DROP TABLE messages", "DROP TABLE topics", "DROP TABLE schema",
    "UPDATE schema SET schema_version = 99", "UPDATE schema SET schema_version = 'x'", "DELETE FROM schema",
    "ALTER TABLE messages RENAME COLUMN data TO content", "ALTER TABLE topics DROP COLUMN type",
    "UPDATE message_definitions SET encoded_message_definition = 'float x y z ='", "DROP TABLE message_definitions",
    "INSERT INTO messages SELECT id + 1000, topic_id, timestamp, data FROM messages",
)  # fmt: skip


def mutate_payload(folder: Path, source: random.Random) -> str:
    """Writes the bag again with one message or more changed, by bytes or by fields."""
    from centertrack_ros.io.rosbag import BagReader, BagWriter

    with BagReader(folder / "drive") as reader:
        topics, records = reader.topics, list(reader.records())
    shutil.rmtree(folder / "drive")
    changed = set(source.sample(range(len(records)), source.choice((1, 1, 3, len(records)))))
    with BagWriter(folder / "drive", source.choice(("mcap", "sqlite3"))) as writer:
        for name, topic in topics.items():
            writer.add_topic(name, topic.type)
        for number, record in enumerate(records):
            data = _changed(record, source) if number in changed else record.data
            writer.write(record.topic, data, record.time_ns, record.type)
    return "payload"


def _changed(record: Any, source: random.Random) -> bytes:
    from centertrack_ros.io.rosbag import message_types

    if source.random() < 0.4:
        return bytes(source.choice((flip, cut, grow, overwrite))(bytearray(record.data), source))
    store = message_types()
    message = store.deserialize_cdr(record.data, record.type)
    leaves = list(_leaves(message))
    for holder, name in source.sample(leaves, min(len(leaves), source.choice((1, 1, 2, 10)))):
        object.__setattr__(holder, name, _odd(getattr(holder, name), source))
    with suppress(Exception):  # a number that its field cannot hold
        return bytes(store.serialize_cdr(message, record.type))
    return bytes(flip(bytearray(record.data), source))


def _leaves(message: Any) -> list[tuple[Any, str]]:
    """(message, name) of every field that is no message."""
    found = []
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if hasattr(value, "__dataclass_fields__"):
            found += _leaves(value)
        elif isinstance(value, list) and value and hasattr(value[0], "__dataclass_fields__"):
            found += [leaf for item in value for leaf in _leaves(item)] + [(message, name)]
        elif name != "__msgtype__":
            found.append((message, name))
    return found


def _odd(value: Any, source: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return source.choice(_INTEGERS)
    if isinstance(value, float):
        return source.choice(_NUMBERS)
    if isinstance(value, str):
        return source.choice(_TEXTS)
    if isinstance(value, list):
        return source.choice(([], value[:1], value + value[:1]))
    array = np.array(value)
    if array.dtype.kind == "f" and len(array):
        array[source.randrange(len(array))] = source.choice(_NUMBERS)
        return array
    return array[: source.randrange(len(array) + 1)]


def mutate_tables(folder: Path, source: random.Random) -> str:
    """Changes the database of an sqlite3 bag by one statement or more."""
    [file] = (folder / "drive").glob("*.db3")
    connection = sqlite3.connect(file)
    for _ in range(source.choice((1, 1, 2))):
        with suppress(sqlite3.Error):
            connection.execute(source.choice(_STATEMENTS))
            connection.commit()
    connection.close()
    if source.random() < 0.3:
        (folder / "drive" / "metadata.yaml").unlink()
    return "tables"
