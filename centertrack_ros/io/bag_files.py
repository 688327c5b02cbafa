# SPDX-License-Identifier: Apache-2.0
"""The storage files of a bag, made readable for the rosbags library without a change to the user's folder.

Most are read where they lie. An unfinished recording (an sqlite3 database with a -wal, an mcap without an end), a
compressed file and a name that SQLite's addresses cannot hold are read from a temporary folder.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sqlite3
import tempfile
import weakref
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from centertrack_ros.io import mcap_records
from centertrack_ros.io.errors import DataError, sentence
from centertrack_ros.io.file_kinds import MCAP, SQLITE, ZSTANDARD, foreign_kind
from centertrack_ros.io.image_files import natural_order
from centertrack_ros.io.text_files import read_text

SUFFIXES = (".mcap", ".db3")
METADATA = "metadata.yaml"
_INFORMATION = "rosbag2_bagfile_information"
UNREADABLE = "not a readable rosbag2"


def is_storage(name: str) -> bool:
    """Whether a file of this name can be a storage file: NAME.mcap, NAME.db3, either with .zstd; not a hidden one."""
    return name.lower().removesuffix(".zstd").endswith(SUFFIXES) and not name.startswith(".")


def storage_files(folder: Path) -> list[Path]:
    """The storage files in a folder, split ones in the order of their numbers."""
    return sorted((f for f in folder.iterdir() if is_storage(f.name) and f.is_file()), key=natural_order)


def is_bag_folder(folder: Path) -> bool:
    """Whether a folder has storage files, or a metadata.yaml that speaks of them."""
    if storage_files(folder):
        return True
    try:
        return _INFORMATION.encode() in (folder / METADATA).read_bytes()
    except OSError:
        return False


class Staged:
    """The files of one bag, ready to be opened.

    Attributes:
        files: In the order of the recording.
        notes: Sentences on what is missing, or was done to read the rest.
        count: Of messages, as metadata.yaml has it; None: it does not say.
    """

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.notes: list[str] = []
        self.count: int | None = None
        self._folder: Path | None = None

    def place(self, suffix: str) -> Path:
        """A path for one more file in the temporary folder, which goes when this object does."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="centertrack-bag-"))
            weakref.finalize(self, _remove, self._folder, os.getpid())
        return self._folder / f"{len(list(self._folder.iterdir()))}{suffix}"


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def stage(path: Path) -> Staged:
    """Makes a bag's files readable.

    Args:
        path: A bag's folder, or one storage file.

    Raises:
        DataError: Nothing there can be read; the text says why, and what helps.
        OSError: A file cannot be read, or its copy not be written.
    """
    folder = path if path.is_dir() else path.parent
    own = sorted(folder.iterdir()) if path.is_dir() else [path, *(_beside(path, end) for end in ("-wal", "-journal"))]
    state = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in own if file.exists())
    return _staged(path, state)


@lru_cache(maxsize=2)  # a verb opens its bag several times: what was unpacked is kept meanwhile
def _staged(path: Path, _: Any) -> Staged:
    staged = Staged()
    files = _of_folder(path, staged) if path.is_dir() else [path]
    problems = []
    for file in files:
        try:
            staged.files.append(_readable(file, staged))
        except DataError as error:
            problems.append(error)
    if not staged.files:
        raise problems[0]
    if problems:
        staged.notes.append(f"{len(problems)} of {len(files)} files left out: {problems[0]}")
    return staged


def _beside(file: Path, end: str) -> Path:
    return file.with_name(file.name + end)


def _of_folder(folder: Path, staged: Staged) -> list[Path]:
    """The files that metadata.yaml names, as far as they are there; without it all that there are."""
    there = storage_files(folder)
    named = _named(folder, staged)
    if not named:
        _require_one_recording(folder, there)
        return there
    found = {name: next(filter(Path.is_file, _candidates(folder, name)), None) for name in named}
    files = [file for file in found.values() if file is not None]
    missing = [name for name, file in found.items() if file is None]
    if not files and not there:
        raise DataError(folder, f"{UNREADABLE}: {METADATA} names '{missing[0]}', and there is no such file")
    if not files:
        staged.notes.append(f"{METADATA} names '{missing[0]}', which is not there; '{there[0].name}' is read instead")
        _require_one_recording(folder, there)
        return there
    if missing:
        staged.notes.append(f"{len(missing)} of {len(named)} files are missing, the first is '{missing[0]}'")
    if others := [file.name for file in there if file not in files and not _is_copy(file, files)]:
        staged.notes.append(f"{METADATA} does not name {', '.join(map(repr, others[:3]))}: left out")
    return files


def _candidates(folder: Path, name: str) -> list[Path]:
    """A file with this name, or the same compressed or uncompressed."""
    plain = name.removesuffix(".zstd")
    return [folder / name, folder / plain, folder / f"{plain}.zstd"]


def _is_copy(file: Path, files: list[Path]) -> bool:
    return any(file.name.removesuffix(".zstd") == other.name.removesuffix(".zstd") for other in files)


def _require_one_recording(folder: Path, files: list[Path]) -> None:
    """Refuses files that do not look like the parts NAME_0, NAME_1, … of one recording."""
    stems = {re.sub(r"_\d+$", "", file.name.lower().removesuffix(".zstd").rsplit(".", 1)[0]) for file in files}
    kinds = {file.name.lower().removesuffix(".zstd").rsplit(".", 1)[1] for file in files}
    if len(files) > 1 and (len(stems) > 1 or len(kinds) > 1):
        names = ", ".join(file.name for file in files[:3])
        problem = f"{len(files)} recordings ({names}) and no {METADATA} that says which belong together; name one file"
        raise DataError(folder, problem)


def _named(folder: Path, staged: Staged) -> list[str]:
    """The files that metadata.yaml names; none, and a note, when it cannot be read."""
    file = folder / METADATA
    if not file.is_file():
        return []
    try:
        document = yaml.load(read_text(file), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        information = document[_INFORMATION]
        names, count = information["relative_file_paths"], information.get("message_count")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("relative_file_paths is not a list of names")
    except Exception as error:  # YAML has many ways to be wrong, and none of them concerns the recording
        reason = "it is empty" if not file.stat().st_size else sentence(error)
        staged.notes.append(f"{METADATA} is left aside, the recording is read without it ({reason[:120]})")
        return []
    staged.count = count if isinstance(count, int) and not isinstance(count, bool) else None
    return list(dict.fromkeys(PurePosixPath(name.replace("\\", "/")).name for name in names))


def _readable(file: Path, staged: Staged) -> Path:
    """The file itself, or what was made of it. Raises DataError for what is no recording."""
    unmerged = [beside for end in ("-wal", "-journal") if _size(beside := _beside(file, end))]
    with file.open("rb") as opened:
        start = opened.read(64)
    if unmerged and (not start or start.startswith(SQLITE)):
        return _merged(file, unmerged, staged)
    if not start:
        raise DataError(file, f"{UNREADABLE}: it is empty, 0 bytes; the recorder was ended before it wrote anything")
    if start.startswith(ZSTANDARD):
        whole = _decompressed(file, staged)
        try:
            return _readable(whole, staged)
        except DataError as error:  # the copy has a name that nobody knows
            raise DataError(file, f"decompressed, {str(error).removeprefix(f'{whole}: ')}") from None
    if start.startswith(SQLITE):
        return file if _is_plain_name(file) else _linked(file, ".db3", staged)
    if start.startswith(MCAP):
        return _whole_mcap(file, staged)
    if kind := foreign_kind(start):
        raise DataError(file, f"not a rosbag2 but {kind}")
    problem = f"it starts with {start[:8].hex(' ')}, which is neither mcap (89 4d 43 41 …) nor sqlite3 (53 51 4c 69 …)"
    raise DataError(file, f"{UNREADABLE}: {problem}")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _is_plain_name(file: Path) -> bool:
    """Whether the library can put the path into SQLite's address of a file (https://sqlite.org/uri.html)."""
    text = str(file)
    return file.suffix == ".db3" and not text.startswith("//") and not re.search("[#?%\udc80-\udcff]", text)


def _linked(file: Path, suffix: str, staged: Staged) -> Path:
    link = staged.place(suffix)
    link.symlink_to(file.absolute())
    return link


def _merged(file: Path, unmerged: list[Path], staged: Staged) -> Path:
    """A copy of a database, with the changes in it that its recorder had not merged."""
    copy = staged.place(".db3")
    shutil.copyfile(file, copy)
    for beside in unmerged:
        shutil.copyfile(beside, _beside(copy, beside.name.removeprefix(file.name)))
    try:
        database = sqlite3.connect(copy)
        try:
            database.execute("PRAGMA journal_mode=DELETE").fetchall()
            database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise DataError(file, f"{UNREADABLE}: its '{unmerged[0].name}' cannot be merged ({error}); {RECOVER}") from None
    staged.notes.append(f"the recording was not finished: '{unmerged[0].name}' is merged in a copy")
    return copy


RECOVER = 'what is left of it can be read by: sqlite3 FILE ".recover" | sqlite3 NEW.db3'


def _decompressed(file: Path, staged: Staged) -> Path:
    """A file without its Zstandard compression; as much as there is of it."""
    target = staged.place(Path(file.name.lower().removesuffix(".zstd")).suffix or ".mcap")
    problem = ""
    with target.open("wb") as output, file.open("rb") as opened, mcap_records.zstandard().open(opened, "rb") as source:
        while True:
            try:
                data = source.read(1 << 20)
            except OSError:
                raise
            except Exception as error:  # EOFError, and each library's own
                problem = sentence(error)
                break
            if not data:
                break
            output.write(data)
    if problem and not target.stat().st_size:
        raise DataError(file, f"{UNREADABLE}: not whole Zstandard data ({problem})")
    if problem:
        staged.notes.append(f"'{file.name}' is cut short: its first {target.stat().st_size} bytes are read")
    return target


def _whole_mcap(file: Path, staged: Staged) -> Path:
    try:
        found = mcap_records.survey(file)
    except ValueError as error:
        raise DataError(file, f"{UNREADABLE}: cut short, {error}") from None
    if not found.is_plain:
        return _rescued(file, staged)
    return file if file.suffix == ".mcap" else _linked(file, ".mcap", staged)


def _rescued(file: Path, staged: Staged) -> Path:
    """A finished mcap of the ROS 2 messages of a file that is not finished, or holds others as well."""
    rosbag2 = importlib.import_module("rosbags.rosbag2")
    folder = staged.place("")
    connections: dict[tuple[str, str], Any] = {}
    others: dict[str, str] = {}
    count, problem = 0, ""
    with rosbag2.Writer(folder, version=8, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        try:
            for channel, time_ns, data in mcap_records.messages(file):
                if not channel.is_ros2:
                    others[channel.topic] = channel.encoding or channel.definition_encoding or "unknown"
                    continue
                key = (channel.topic, channel.type)
                if key not in connections:
                    connections[key] = _add_connection(writer, channel)
                writer.write(connections[key], min(time_ns, (1 << 63) - 2), data)
                count += 1
        except ValueError as error:
            problem = str(error)
    if not count:
        raise DataError(file, f"{UNREADABLE}: {_nothing(others, problem)}")
    if problem:
        staged.notes.append(f"{problem}: the {count} messages that are whole are read")
    if others:
        encodings = ", ".join(sorted(set(others.values())))
        staged.notes.append(f"{len(others)} topics left out, whose messages are not ROS 2's (CDR) but {encodings}")
    return folder / f"{folder.name}.mcap"


def _nothing(others: dict[str, str], problem: str) -> str:
    """Why no message of an mcap can be read."""
    if "ros1" in others.values():
        return "its messages are ROS 1's; convert the .bag it was made of: rosbags-convert --src IN.bag --dst OUT"
    if others:
        encodings = ", ".join(sorted(set(others.values())))
        return f"its messages are {encodings}, not ROS 2's (CDR); record the topics as ROS 2 messages: ros2 bag record"
    if problem:
        return f"cut short, {problem}, and not one whole chunk of messages is left"
    return "it has no messages"


def _add_connection(writer: Any, channel: mcap_records.Channel) -> Any:
    try:
        qos = importlib.import_module("rosbags.rosbag2.metadata").parse_qos(channel.qos)
    except Exception:  # of a format that is not known: a player then takes its own
        qos = ()
    definition = {"msgdef": channel.definition, "rihs01": "RIHS01_unknown"}
    return writer.add_connection(channel.topic, channel.type, offered_qos_profiles=qos, **definition)
