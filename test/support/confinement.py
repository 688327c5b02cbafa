# SPDX-License-Identifier: Apache-2.0
"""What `docker run --read-only --user 54321` gives a process, by the kernel's own means and without a daemon.

    python -m support.confinement [--tmp] [--profile] [PARAMETER ...]

As root: enters a mount namespace where everything is read-only but 64 MB of /dev/shm (and /tmp with `--tmp`), gives up
every right, forgets HOME, and starts the node there, with a camera beside it. The last line of standard output is JSON:
the number of boxes in the node's answer to each image, its exit code and its log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

USER = "54321"  # without an entry in passwd, as after `docker run --user`
SHARED_MEMORY = "size=64m,mode=1777"  # Docker's default
FORGOTTEN = ("HOME", "TMPDIR", "ROS_HOME", "ROS_LOG_DIR", "XDG_CACHE_HOME")
ROOT = Path(__file__).resolve().parents[2]
IMAGES = 3
START_S, ANSWER_S = 60.0, 30.0


def refusal() -> str:
    """Why a process cannot be confined here, as one clause; '' if it can."""
    if os.geteuid() != 0:
        return "only root can mount"
    try:
        done = subprocess.run(["unshare", "--mount", "setpriv", "--version"], capture_output=True, text=True)
    except OSError:
        return "unshare is not installed"
    return done.stderr.strip() if done.returncode else ""


def confine(with_tmp: bool) -> None:
    """In a mount namespace of its own: makes everything read-only, but shared memory."""
    _mount("--make-rprivate", "/")
    _let_read((Path(sys.base_prefix), Path(sys.prefix), ROOT))
    writable = {"/dev/shm", "/tmp"} if with_tmp else {"/dev/shm"}
    for place in writable:
        _mount("-t", "tmpfs", "-o", SHARED_MEMORY, "tmpfs", place)
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in dict.fromkeys(places):
        if place not in writable:
            subprocess.run(["mount", "-o", "remount,bind,ro", place], capture_output=True)  # some are covered
    try:
        Path("/var/tmp/confinement").touch()
    except OSError:
        return
    raise SystemExit("the root file system can still be written")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _let_read(folders: Sequence[Path]) -> None:
    """Shows folders to every user where they are inside a closed one, such as root's home, and nothing else of that."""
    hidden = [folder for folder in folders if _is_hidden(folder)]
    if not hidden:
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt")
    for folder in hidden:
        shown = Path(f"/mnt{folder}")
        shown.mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(folder), str(shown))
    for top in dict.fromkeys(folder.parts[1] for folder in hidden):
        _mount("--rbind", f"/mnt/{top}", f"/{top}")


def _is_hidden(folder: Path) -> bool:
    return any(not path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def show_images() -> list[int]:
    """Shows the node images; the number of boxes in each answer, -1 for none."""
    from support.ros_harness import CameraClock, Probe, demo_frames, wait_until

    probe, clock, boxes = Probe(outputs=["output/detections_2d"]), CameraClock(), []
    received = probe.received["output/detections_2d"]
    wait_until(probe.images.get_subscription_count, START_S, "the node to subscribe to images")
    for image in demo_frames(IMAGES, (640, 480)):
        before, deadline = len(received), time.monotonic() + ANSWER_S
        probe.show(image, clock.tick())
        while len(received) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        boxes.append(len(received[-1].detections) if len(received) > before else -1)
    probe.close()
    return boxes


def run_node(profile: bool, parameters: Sequence[str]) -> None:
    """Starts the node as whoever this is, shows it images, and prints what came of it."""
    if profile:
        for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
            os.environ[name] = str(ROOT / "config" / "fastdds.xml")
    import rclpy

    from support.ros_harness import RELIABLE, start_node

    rclpy.init(args=["probe", "--ros-args", "--disable-external-lib-logs"])
    process = start_node(RELIABLE, *parameters)
    try:
        boxes = show_images()
    finally:
        code, _ = process.end()
    rclpy.shutdown()
    facts = {"user": os.geteuid(), "home": os.environ.get("HOME"), "boxes": boxes, "code": code, "log": process.lines}
    print(json.dumps(facts))


def main() -> None:
    """As root confines itself and becomes nobody; as nobody runs the node."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tmp", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("parameters", nargs="*")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        run_node(arguments.profile, arguments.parameters)
        return
    confine(arguments.tmp)
    forget = [part for name in FORGOTTEN for part in ("-u", name)]
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    command += ["--inh-caps=-all", "--bounding-set=-all", "env", *forget, "PYTHONDONTWRITEBYTECODE=1"]
    os.chdir("/")
    os.execvp(command[0], [*command, sys.executable, "-m", "support.confinement", *sys.argv[1:]])


if __name__ == "__main__":
    main()
