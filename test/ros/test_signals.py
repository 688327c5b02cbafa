# SPDX-License-Identifier: Apache-2.0
"""SIGINT, SIGTERM and SIGHUP, alone or in a row, at any time: the node ends in time, with 0, and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from support.ros_harness import (
    RELIABLE,
    ROOT,
    START_S,
    TORCH,
    CameraClock,
    Probe,
    Process,
    image_message,
    launch_node,
    owned_shared_memory,
    wait_until,
)

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
ORDERS = {
    "int": (INT,),
    "term": (TERM,),
    "hup": (HUP,),
    "int_int": (INT, INT),
    "term_int": (TERM, INT),
    "hup_term": (HUP, TERM),
    "all": (INT, HUP, TERM, INT, INT, TERM),
}
MOMENTS = ("start", "configuration", "rest", "frame")
SMALL = (RELIABLE, TORCH, "model.input_width:=256", "model.input_height:=192")


@pytest.fixture(autouse=True)
def hang_ups_arrive():
    """Nodes inherit what the tests ignore: under nohup, it would be SIGHUP."""
    before = signal.signal(HUP, signal.SIG_DFL)
    yield
    signal.signal(HUP, before)


def catches_signals(process: Process) -> bool:
    """Whether the node's own handlers are there: before, it is the interpreter that starts."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [caught] = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (HUP - 1) & 1)


def start(moment: str, name: str, frames) -> tuple[Process, set[Path]]:
    """A node at this moment of its life, with the shared memory that it has."""
    process = launch_node(*SMALL, "output.target_frame:=''", name=name)
    wait_until(lambda: catches_signals(process), START_S, "the first line of the node")
    if moment == "start":
        time.sleep(random.uniform(0.0, 1.0))
        return process, set()
    if moment == "configuration":
        wait_until(lambda: owned_shared_memory(process.pid), START_S, "the node's participant")
        time.sleep(random.uniform(0.0, 1.0))
    else:
        process.wait_for_line("model ", timeout=START_S)
        time.sleep(0.2)  # the discovery of the domain
    if moment == "frame":
        probe, clock = Probe(name, outputs=("output/detections_2d",)), CameraClock(rate=100.0)
        probe.wait_for_node()
        for frame in frames[:3]:  # the first two are answered or replaced, the last one is in work
            probe.images.publish(image_message(frame, clock.tick()))
        wait_until(lambda: probe.received["output/detections_2d"], 20.0, "a result")
        probe.images.publish(image_message(frames[3], clock.tick()))
        time.sleep(random.uniform(0.0, 0.05))
        probe.close()
    return process, owned_shared_memory(process.pid)


def end(process: Process, signals: tuple[int, ...], pause: float) -> None:
    """Sends the signals; asserts what is promised."""
    for number in signals[:-1]:
        if process.alive:
            process.send(number)
        time.sleep(pause)
    code, took = process.end(signals[-1])
    assert code == 0, "\n".join([f"exit code {code}", *process.lines])
    assert took + pause * (len(signals) - 1) < 2.5, f"{took:.1f} s"
    bad = [line for line in process.lines if "Traceback" in line or "failed" in line or "invalid" in line]
    assert not bad, "\n".join(process.lines)


def check(moment: str, order: str, frames, pause: float) -> None:
    process, segments = start(moment, f"{moment}_{order}", frames)
    end(process, ORDERS[order], pause)
    assert moment in ("start", "configuration") or segments
    assert not [path for path in segments if path.exists()], "\n".join(process.lines)


@pytest.mark.parametrize(
    ("moment", "order"), [("start", "int_int"), ("configuration", "hup"), ("rest", "all"), ("frame", "int_int")]
)
def test_signals_end_the_node(moment: str, order: str, ros, frames) -> None:
    check(moment, order, frames, pause=0.02)


def test_the_program_timeout_which_signals_twice_ends_the_node(ros) -> None:
    """It signals its child, and then the whole group."""
    command = ["timeout", "--preserve-status", "-s", "INT", "4", sys.executable, str(ROOT / "bin" / "centertrack_node")]
    process = Process([*command, "--ros-args", "-p", TORCH], start_new_session=True)
    wait_until(lambda: not process.alive, 20.0, "the end")
    code, _ = process.end()
    assert code == 0 and not process.logged("Traceback"), "\n".join(process.lines)


def test_without_a_terminal_that_was_closed_on_purpose_a_hang_up_means_nothing(ros) -> None:
    """`nohup` starts its program with SIGHUP ignored."""
    command = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", sys.executable, str(ROOT / "bin" / "centertrack_node")]
    process = Process([*command, "--ros-args", "-p", TORCH, "-r", "__node:=kept"])
    process.wait_for_line("model ", timeout=START_S)
    process.send(HUP)
    time.sleep(0.5)
    assert process.alive
    end(process, (TERM,), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_at_every_moment(moment: str, order: str, ros, frames) -> None:
    """`make signals` does it twenty times each, in 20 minutes."""
    for _ in range(int(os.environ.get("SIGNAL_ROUNDS", "1"))):
        check(moment, order, frames, pause=random.choice((0.0, 0.02, 0.3)))
