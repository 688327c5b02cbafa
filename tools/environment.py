#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sets up what `make` runs in: a virtual environment with pinned packages, and the messages built with colcon.

Needs nothing but Python's standard library. Does nothing when nothing has changed, continues after an interruption,
and works without a network once the packages are installed. Two kinds of environment:

wheels        no ROS installation: ROS 2 itself comes as wheels from PyPI (`.venv`: Jazzy, `.venv-kilted`: Kilted)
distribution  a sourced ROS 2 (`ROS_DISTRO` set, rclpy importable): `.venv-ros-<distro>` on top of it
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PACKAGE = ROOT / "centertrack_ros"
OLDEST, NEWEST = (3, 10), (3, 14)
# Where a distribution or the system has one of these modules, that one stays: pip's NumPy 2 beside a cv_bridge that was
# built for NumPy 1 breaks both.
SYSTEM_MODULES = {
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "PyYAML": "yaml",
    "scipy": "scipy",
    "pytest": "pytest",
}
# ROS 2 as wheels: the one that `make` works with, supported until 2029, and the one that runs the ROS tests too.
FIRST, SECOND = "jazzy", "kilted"
COMPAT_PACKAGES = ["vision_msgs", "tf2_msgs", "autoware_perception_msgs"]  # not on PyPI
INTERFACE_SOURCES = ["msg", "srv", "compat", "cmake", "CMakeLists.txt", "package.xml"]
PROBE = """
import json, os, sys, sysconfig
def has(name):
    try:
        __import__(name)
    except Exception:
        return False
    return True
print(json.dumps({
    "executable": sys.executable, "version": list(sys.version_info[:3]), "venv": has("venv") and has("ensurepip"),
    "headers": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")),
    "rclpy": bool(os.environ.get("ROS_DISTRO")) and has("rclpy"),
}))
"""
# They separate paths, quote or comment in one of: lists of paths, CMake, make, the shell.
BAD_IN_PATHS = ":;'\"`$#\\"
NO_NETWORK = (
    "NewConnectionError",
    "Failed to establish a new connection",
    "name resolution",
    "Network is unreachable",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
)


class SetupError(Exception):
    """What is wrong and what to do about it, in one sentence."""


def check_place(root: Path) -> None:
    """Looks at the checkout's path, in which CMake, colcon or lists of paths would fail after minutes of downloads.

    Raises:
        SetupError: It has a character that they cannot take; spaces are no problem.
    """
    text = str(root)
    bad = sorted({character for character in text if not " " <= character <= "~" or character in BAD_IN_PATHS})
    if bad:
        raise SetupError(
            f"messages cannot be built in {ascii(text)[1:-1]}: CMake and colcon fail where a path has "
            f"{' or '.join(map(ascii, bad))}; move the checkout to a path of ASCII letters, digits, and ._+- or spaces."
        )


class PythonFacts(TypedDict):
    """What `probe` learns about a Python interpreter."""

    executable: str
    version: list[int]
    venv: bool
    headers: bool
    rclpy: bool


def say(text: str) -> None:
    """Prints a line of progress."""
    print(f"setup: {text}", flush=True)


def probe(command: str) -> PythonFacts | None:
    """Asks a Python interpreter about itself; None if it does not start."""
    try:
        run = subprocess.run([command, "-c", PROBE], capture_output=True, text=True, timeout=60)
        facts: PythonFacts = json.loads(run.stdout)
        return facts
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(need_rclpy: bool) -> PythonFacts:
    """Finds the first Python that serves: $PYTHON, python3, then the newest of 3.14 to 3.10 that is installed.

    Raises:
        SetupError: There is none; the text says what each of those that were found lacks.
    """
    wanted = os.environ.get("PYTHON")
    names = [wanted] if wanted else ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"]
    rejected = []
    for name in names:
        facts = probe(name)
        if facts is None:
            continue
        version = tuple(facts["version"])
        label = f"{name} ({'.'.join(map(str, version))})"
        if not OLDEST <= version[:2] <= NEWEST:
            rejected.append(f"{label} is not 3.10 to 3.14")
        elif not facts["venv"]:
            rejected.append(f"{label} lacks the venv module: apt-get install python{version[0]}.{version[1]}-venv")
        elif not facts["headers"]:
            rejected.append(f"{label} lacks Python.h: apt-get install python{version[0]}.{version[1]}-dev")
        elif need_rclpy and not facts["rclpy"]:
            rejected.append(f"{label} cannot import rclpy")
        else:
            return facts
    found = "; ".join(rejected) or f"none of {', '.join(names)} starts"
    raise SetupError(f"a Python of 3.10 to 3.14 with venv and Python.h is needed, but {found}.")


def find_compiler() -> None:
    """Raises SetupError if there is no C++ compiler for the messages."""
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    if not any(name and shutil.which(name.split()[0]) for name in names):
        raise SetupError("a C++ compiler is needed to build the messages, and there is none: apt-get install g++.")


def digest(*parts: object) -> str:
    """Hashes texts and the contents of files; a folder counts with all files in it."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            paths = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            for path in paths:
                total.update(f"{path.relative_to(ROOT)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
        else:
            total.update(str(part).encode() + b"\0")
    return total.hexdigest()


class Environment:
    """One environment: where it is, what goes into it, and which steps of its set-up are done."""

    def __init__(self, folder: str, ros: str, distribution: str = "") -> None:
        """Describes an environment; nothing is created yet.

        Args:
            folder: Its folder in the checkout.
            ros: The ROS distribution whose packages it has.
            distribution: The sourced ROS distribution that it stands on; '': none, ROS comes as wheels.
        """
        self.folder = ROOT / folder
        self.ros = ros
        self.distribution = distribution
        self.stamp_file = self.folder / "stamp.json"
        self.log = self.folder / "setup.log"
        self.python = self.folder / "bin" / "python"

    @property
    def is_second(self) -> bool:
        """Whether it is the one beside `.venv`, which only runs the ROS tests."""
        return self.folder.name == f".venv-{SECOND}"

    @property
    def has_engines(self) -> bool:
        """Whether the fast engines of a CPU belong to it."""
        return any(path.name == "engines.txt" for path in self.requirement_files("packages")[0])

    def stamp(self) -> dict[str, Any]:
        """What has been set up, as `write_stamp` left it; empty if that cannot be trusted."""
        try:
            stamp: dict[str, Any] = json.loads(self.stamp_file.read_text())
        except (OSError, ValueError):
            return {}
        usable = self.python.exists() and Path(stamp.get("base", "")).exists()
        # The wheels of two distributions overwrite each other's files: pip cannot turn one into the other.
        same = stamp.get("root") == str(ROOT) and stamp.get("ros") == self.ros
        return stamp if usable and same else {}

    def write_stamp(self, stamp: Mapping[str, Any]) -> None:
        """Records what has been set up."""
        fresh = self.stamp_file.with_suffix(".new")
        fresh.write_text(json.dumps(stamp))
        os.replace(fresh, self.stamp_file)

    def requirement_files(self, group: str) -> tuple[list[Path], list[Path]]:
        """Files of a group, 'packages' or 'tests': to be installed with their dependencies, and without."""
        if group == "tests":
            # The ROS tests, the only ones that the second environment is for, want nothing optional.
            names = ["test.txt"] if self.is_second else ["test.txt", "optional.txt"]
        elif self.distribution:
            names = ["runtime.txt", "engines.txt", "demo.txt"]
        elif self.is_second:
            names = ["runtime.txt", "build-tools.txt", f"ros-{self.ros}.txt"]
        else:
            names = ["runtime.txt", "engines.txt", "demo.txt", "build-tools.txt", f"ros-{self.ros}.txt"]
        plain = "no-dependencies.txt" if group == "tests" else None
        return [REQUIREMENTS / name for name in names], [REQUIREMENTS / plain] if plain else []

    def packages_digest(self, group: str) -> str:
        """Changes when a package of the group has to be installed again."""
        files, plain = self.requirement_files(group)
        return digest(*files, *plain, REQUIREMENTS / "constraints.txt", *self.system_prefixes())

    def interfaces_digest(self) -> str:
        """Changes when the messages have to be built again."""
        files = [*self.requirement_files("packages")[0], REQUIREMENTS / "constraints.txt"]
        pins = [line for path in files for line in path.read_text().splitlines()]
        generators = [pin for pin in pins if pin.startswith(("ros-", "numpy", "cmake", "colcon", "empy", "lark"))]
        where = self.system_prefixes()
        return digest(*generators, *where, self.stamp().get("version"), *(ROOT / name for name in INTERFACE_SOURCES))

    # Packages

    def create(self) -> dict[str, Any]:
        """Creates a new virtual environment in place of an old one, and returns its stamp."""
        base = find_python(need_rclpy=bool(self.distribution))
        find_compiler()
        say(f"creating {self.folder.name} with Python {'.'.join(map(str, base['version']))}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        options = ["--system-site-packages"] if self.distribution else []
        self.call([base["executable"], "-m", "venv", *options, str(self.folder)], "creating the virtual environment")
        return {"root": str(ROOT), "ros": self.ros, "base": base["executable"], "version": base["version"]}

    def install_packages(self, group: str) -> None:
        """Brings every package of a group to the version pinned for it."""
        stamp = self.stamp() or self.create()
        # An interruption leaves packages half replaced: without a stamp the next run starts from the beginning.
        self.stamp_file.unlink(missing_ok=True)
        what = "needed by the tests" if group == "tests" else f"for ROS 2 {self.ros.capitalize()}"
        say(f"installing the packages {what}, pinned in requirements/ (log: {self.log.relative_to(ROOT)})")
        requirements, plain, constraints = self.write_requirements(group)
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--prefer-binary"]
        show = ("  Downloading", "Downloading", "Installing")
        self.call([*pip, "-c", str(constraints), "-r", str(requirements)], "installing packages", show)
        if plain.stat().st_size > 1:
            self.call([*pip, "-c", str(constraints), "--no-deps", "-r", str(plain)], "installing packages", show)
        self.write_stamp({**stamp, group: self.packages_digest(group)})

    def write_requirements(self, group: str) -> list[Path]:
        """Writes three files into the environment: requirements, those without dependencies, constraints.

        On a distribution, the packages that it has are left out, and NumPy keeps its version.
        """
        versions = self.system_modules() if self.distribution else {}
        present = {package for package, module in SYSTEM_MODULES.items() if module in versions}
        extra = []
        if "numpy" in versions:
            extra.append(f"numpy=={versions['numpy']}")
            if int(versions["numpy"].split(".")[0]) < 2:
                present.add("trackeval")  # wants NumPy 2.3
        files, no_dependencies = self.requirement_files(group)
        tools = ["colcon-common-extensions"] if self.distribution and not shutil.which("colcon") else []
        texts = {
            "requirements.txt": [*requirement_lines(files, present), *tools],
            "no-dependencies.txt": requirement_lines(no_dependencies, present),
            "constraints.txt": [*requirement_lines([REQUIREMENTS / "constraints.txt"], present), *extra],
        }
        for name, lines in texts.items():
            (self.folder / name).write_text("\n".join(lines) + "\n")
        return [self.folder / name for name in texts]

    def system_modules(self) -> dict[str, str]:
        """Finds those of SYSTEM_MODULES that the distribution or the system has: name -> version."""
        code = (
            "import importlib, json, sys\nfound = {}\n"
            "for name in sys.argv[1:]:\n"
            "    try: found[name] = getattr(importlib.import_module(name), '__version__', '')\n"
            "    except ImportError: pass\n"
            "print(json.dumps(found))"
        )
        command = [str(self.python), "-c", code, *SYSTEM_MODULES.values()]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        versions: dict[str, str] = json.loads(output)
        return versions

    # Messages

    def build_interfaces(self) -> None:
        """Builds our own messages, and those of compat/ that the system lacks, into the environment's `ros/install`."""
        find_compiler()
        missing = [name for name in COMPAT_PACKAGES if not self.system_has(name)]
        say(f"building the messages of {', '.join([*missing, 'centertrack_ros'])} with colcon")
        base = self.folder / "ros"
        stamp = self.stamp()
        # Only a build that was finished is continued; an interrupted one is removed.
        shutil.rmtree(base / "install" if "interfaces" in stamp else base, ignore_errors=True)
        self.write_stamp({key: value for key, value in stamp.items() if key != "interfaces"})
        sources = self.copy_interface_sources(base / "src")
        paths = [str(sources), *(str(sources / "compat" / name) for name in missing)]
        colcon = [str(self.python), "-m", "colcon"] if not self.distribution else [shutil.which("colcon") or "colcon"]
        if self.distribution and (self.folder / "bin" / "colcon").exists():
            colcon = [str(self.folder / "bin" / "colcon")]
        command = [*colcon, "--log-base", str(base / "log"), "build", "--base-paths", *paths]
        command += ["--build-base", str(base / "build"), "--install-base", str(base / "install")]
        command += ["--event-handlers", "console_cohesion+", "status-", "terminal_title-", "desktop_notification-"]
        command += [
            "--cmake-args",
            "--no-warn-unused-cli",
            f"-DPython3_EXECUTABLE={self.python}",
            "-DBUILD_TESTING=OFF",
        ]
        command += [f"-DPYTHON_EXECUTABLE={self.python}", "-DCENTERTRACK_INTERFACES_ONLY=ON"]
        self.call(command, "building the messages", show=("Starting >>>", "Finished <<<"), env=self.build_variables())
        self.write_environment_file()
        self.write_stamp({**self.stamp(), "interfaces": self.interfaces_digest()})

    def copy_interface_sources(self, target: Path) -> Path:
        """Copies what colcon needs: CMake refuses to build a tree that holds NumPy's headers, as ours does in .venv."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in INTERFACE_SOURCES:  # with their times, so that what is unchanged is not built again
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name)
            else:
                shutil.copy2(ROOT / name, target / name)
        return target

    def system_prefixes(self) -> list[str]:
        """The sourced prefixes, those of an environment of our own (under `make` inside `make`) left out."""
        places = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if self.distribution else []
        return [place for place in places if place and not place.startswith(str(self.folder))]

    def system_has(self, package: str) -> bool:
        """Whether a sourced prefix has the ROS package."""
        index = Path("share", "ament_index", "resource_index", "packages", package)
        return any((place / index).exists() for place in map(Path, self.system_prefixes()))

    def build_variables(self) -> dict[str, str]:
        """The environment variables of a colcon build."""
        variables = dict(os.environ, PATH=f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        if not self.distribution:
            variables = {
                k: v for k, v in variables.items() if k not in ("PYTHONPATH", "COLCON_PREFIX_PATH", "ROS_DISTRO")
            }
            variables.update(
                AMENT_PREFIX_PATH=str(self.folder), CMAKE_PREFIX_PATH=str(self.folder), CMAKE_GENERATOR="Ninja"
            )
        return variables

    def write_environment_file(self) -> None:
        """Writes `environment.sh`, which tools/run reads: the variables under which everything runs."""
        library = "lib/python{}.{}/site-packages".format(*self.stamp()["version"])
        installs = sorted(p for p in (self.folder / "ros" / "install").iterdir() if (p / "share").is_dir())
        prefixes = [*installs, *([] if self.distribution else [self.folder])]
        # Debian's Python installs into dist-packages of prefixes other than its own, so look which one there is.
        packages = [ROOT, ROOT / "test"] + [
            p for i in installs for p in sorted(i.glob("l*/**/*-packages")) if p.is_dir()
        ]
        wheels = [] if self.distribution else [self.folder / "lib", *sorted((self.folder / library).glob("ros_*.libs"))]
        libraries = [*(i / "lib" for i in installs), *wheels]
        lines = [
            "# Written by tools/environment.py: read by tools/run.",
            export("PATH", [ROOT / "bin", self.folder / "bin"], keep=True),
            export("AMENT_PREFIX_PATH", prefixes, keep=bool(self.distribution)),
            export("PYTHONPATH", packages, keep=bool(self.distribution)),
            export("LD_LIBRARY_PATH", libraries, keep=True),
            export("VIRTUAL_ENV", [self.folder]),
            export("CENTERTRACK_ENVIRONMENT", [self.folder]),
            "export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}",
        ]
        if not self.distribution:
            # The wheels restart Python to find their libraries unless this says that the paths are set.
            lines += ["export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1", "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp"]
        (self.folder / "environment.sh").write_text("\n".join(lines) + "\n")

    # The embedded model, exported for the fastest engine of this machine

    def engine_digest(self) -> str:
        """Changes when the embedded model has to be exported again."""
        sources = [path for name in ("engine", "network") for path in sorted((PACKAGE / name).glob("*.py"))]
        weights = sorted((PACKAGE / "weights").glob("*.safetensors"))
        return digest(self.stamp().get("packages"), *sources, *weights)

    def export_model(self) -> None:
        """Exports the embedded model, for which the first node would have to wait otherwise. A failure is no error."""
        say("exporting the embedded model for the fastest engine of this machine")
        command = [str(self.python), "-m", "centertrack_ros.cli", "export", "--build-only"]
        try:
            self.call(command, "exporting the embedded model", env={**os.environ, "PYTHONPATH": str(ROOT)})
        except SetupError as error:
            say(f"{error} The node runs on torch instead.")
        self.write_stamp({**self.stamp(), "engine": self.engine_digest()})

    def call(
        self, command: Sequence[str], what: str, show: tuple[str, ...] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """Runs a command, its output into the log; prints the lines that start with one of `show`.

        Raises:
            SetupError: It failed; `what` names it.
        """
        tail: list[str] = []
        with open(self.log, "a") as log:
            log.write(f"$ {' '.join(command)}\n")
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=self.folder
            )
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    tail = [*tail[-200:], line]
                    if line.startswith(show or ("\0",)):
                        say("  " + line.strip()[:110])
            except BaseException:  # an interruption: no process may continue to write into the environment
                process.terminate()
                process.wait()
                raise
        if process.wait() == 0:
            return
        text = "".join(tail)
        sys.stdout.write("".join(tail[-25:]))
        if any(sign in text for sign in NO_NETWORK):
            raise SetupError(f"{what} failed because the package index cannot be reached: connect to the network once.")
        raise SetupError(f"{what} failed with status {process.returncode}; the whole output is in {self.log}.")

    def install_docs(self) -> None:
        """Installs what builds the documentation into a folder of its own: its docutils is not that of colcon."""
        pins = REQUIREMENTS / "docs.txt"
        if self.stamp().get("docs") == digest(pins):
            return
        say("installing the packages that build the documentation, pinned in requirements/docs.txt")
        target = self.folder / "docs"
        shutil.rmtree(target, ignore_errors=True)
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
        self.call([*pip, "--target", str(target), "-r", str(pins)], "installing packages", ("Installing",))
        self.write_stamp({**self.stamp(), "docs": digest(pins)})

    def set_up(self, tests: bool = False, docs: bool = False) -> None:
        """Does all steps that are not done yet; `tests` and `docs` ask for the packages of these, too."""
        for group in ("packages", "tests") if tests else ("packages",):
            if self.stamp().get(group) != self.packages_digest(group):
                self.install_packages(group)
        if docs:
            self.install_docs()
        if self.stamp().get("interfaces") != self.interfaces_digest():
            self.build_interfaces()
        if self.has_engines and self.stamp().get("engine") != self.engine_digest():
            self.export_model()
            say(f"{self.folder.name} is ready")


def requirement_lines(files: Iterable[Path], left_out: Collection[str]) -> list[str]:
    """The lines of requirements files that name a package, without those whose package is in `left_out`."""
    lines = [line for path in files for line in path.read_text().splitlines()]
    return [line for line in lines if package_name(line) and package_name(line) not in left_out]


def package_name(line: str) -> str:
    """The name at the start of a line of a requirements file, '' for comments and empty lines."""
    name = line.split("#")[0].strip()
    for sign in ("=", "<", ">", ";", "[", " ", "!", "~"):
        name = name.split(sign)[0]
    return name


def export(name: str, places: Iterable[object], keep: bool = False) -> str:
    """A line of shell that sets a variable to a list of places, in front of its old value with `keep`."""
    value = ":".join(str(place) for place in places)
    rest = f"${{{name}:+:${name}}}" if keep else ""
    return f"export {name}='{value}'{rest}"


def _has_rclpy(command: str) -> bool:
    facts = probe(command)
    return facts is not None and facts["rclpy"]


def choose(second: bool) -> Environment:
    """Chooses the environment that fits this machine: a sourced distribution's, or that of the wheels."""
    if second:
        return Environment(f".venv-{SECOND}", SECOND)
    distribution = os.environ.get("ROS_DISTRO", "")
    if not distribution:
        return Environment(".venv", FIRST)
    sourced = Environment(f".venv-ros-{distribution}", distribution, distribution)
    if sourced.stamp() or _has_rclpy(os.environ.get("PYTHON") or "python3"):
        return sourced
    instead = FIRST.capitalize()
    say(f"ROS_DISTRO is {distribution}, but python3 cannot import rclpy: using ROS 2 {instead} from PyPI instead")
    return Environment(".venv", FIRST)


def lock_out_others(environment: Environment) -> int:
    """Waits for another set-up of the same environment. The lock ends with the process and needs no file of its own."""
    requirements = REQUIREMENTS / f"ros-{environment.ros}.txt"
    lock = os.open(requirements if requirements.exists() else ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another set-up to finish")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main() -> None:
    """Reads the arguments and sets up."""
    parser = argparse.ArgumentParser(description="Set up what make runs in.")
    parser.add_argument(
        "--kilted", action="store_true", help="set up the second environment, with the wheels of Kilted"
    )
    parser.add_argument("--tests", action="store_true", help="with the packages that only the tests need")
    parser.add_argument("--docs", action="store_true", help="with the packages that build the documentation")
    arguments = parser.parse_args()
    try:
        check_place(ROOT)
    except SetupError as error:
        sys.exit(f"setup: {error}")
    environment = choose(arguments.kilted)
    lock = lock_out_others(environment)
    try:
        environment.set_up(arguments.tests, arguments.docs)
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next run continues.")
    finally:
        os.close(lock)


if __name__ == "__main__":
    main()
