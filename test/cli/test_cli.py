# SPDX-License-Identifier: Apache-2.0
"""The command itself: it finds its verbs quickly, errors are one line, and sizes are read in one way."""

import argparse
import subprocess
import sys

import pytest

from centertrack_ros.cli._arguments import frame_steps, image_size, network_pixels, network_size
from centertrack_ros.cli._tracking_options import add_tracker_arguments, tracker_config
from centertrack_ros.cli.main import main, verbs
from centertrack_ros.tracking.config import TrackerConfig


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_help_names_every_verb_and_imports_none() -> None:
    script = (
        "import sys; from centertrack_ros.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print({'torch', 'numpy', 'cv2', 'rclpy'} & set(sys.modules))"
    )
    result = run("-c", script)
    assert result.returncode == 0 and result.stdout.endswith("set()\n"), result.stderr
    for verb in verbs():
        line = next(line for line in result.stdout.splitlines() if line.split()[:1] == [verb])
        assert len(line.split()) > 2, f"'{verb}' does not say what it does"


def test_pixels_of_the_input_are_a_number_or_a_product() -> None:
    assert network_pixels("262144") == network_pixels("512x512") == 262144
    for text in ("", "x", "512x", "-3", "63x64", "1e6", "9000x9000"):
        with pytest.raises(argparse.ArgumentTypeError, match="from 4096 to 16777216"):
            network_pixels(text)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_explains_its_arguments(verb: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0 and f"usage: centertrack {verb}" in capsys.readouterr().out


def test_an_unknown_verb_is_named() -> None:
    result = run("-m", "centertrack_ros.cli", "dance")
    assert result.returncode == 2 and "'dance'" in result.stderr and "weights" in result.stderr


def test_an_error_is_one_line_without_traceback() -> None:
    result = run("-m", "centertrack_ros.cli", "weights", "info", "/nowhere/at/all.pth")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("centertrack weights: ") and result.stderr.count("\n") == 1
    assert "/nowhere/at/all.pth" in result.stderr


def test_sizes_are_width_times_height() -> None:
    assert image_size("1600x900") == (1600, 900)
    assert network_size("800X448") == (800, 448)


@pytest.mark.parametrize("text", ["", "big", "800", "x", "0x64", "64x0", "-64x64", "64x64x64", "6.4x64"])
def test_what_is_no_size_is_refused(text: str) -> None:
    for read in (image_size, network_size):
        with pytest.raises(argparse.ArgumentTypeError, match=r"expected WIDTHxHEIGHT in px, for instance 800x448"):
            read(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("weights", "convert", "in.pth", "out.safetensors", "--input-size"),
        ("export", "--size"),
        ("track", "video.mp4", "--input-size"),
        ("pseudo-label", "bag", "--output", "out", "--input-size"),
    ],
)
def test_every_verb_wants_multiples_of_32_as_the_networks_input(arguments: tuple[str, ...], capsys) -> None:
    for size, words in (("100x96", "multiples of 32 px"), ("wide", "WIDTHxHEIGHT")):
        with pytest.raises(SystemExit) as exit_:
            main([*arguments, size])
        assert exit_.value.code == 2
        message = capsys.readouterr().err
        assert words in message and size in message


def test_options_that_are_not_given_are_those_of_the_configuration() -> None:
    parser = argparse.ArgumentParser()
    add_tracker_arguments(parser)
    assert tracker_config(parser.parse_args([])) == TrackerConfig()
    given = tracker_config(
        parser.parse_args(["--classes", "person", "car", "--rebirth", "0.5", "--new-threshold", "0"])
    )
    assert given == TrackerConfig(classes=("person", "car"), rebirth=0.5, new_threshold=0.0)


def test_frame_steps_are_a_list_or_a_range() -> None:
    assert frame_steps("1,2, 5") == (1, 2, 5) and frame_steps("0-3") == (1, 2, 3)
    for text in ("", "0", "1,x", "5-2"):
        with pytest.raises(argparse.ArgumentTypeError):
            frame_steps(text)


def test_the_street_reads_its_image_size_the_same_way(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["street", str(tmp_path), "--size", "big"])
    assert exit_.value.code == 2 and "WIDTHxHEIGHT" in capsys.readouterr().err
