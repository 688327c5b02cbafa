"""The command itself: it finds its verbs quickly, and errors are one line."""

import subprocess
import sys

import pytest

from centertrack_ros.cli.main import main, verbs


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
