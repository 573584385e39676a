"""The script ``./xray``: how it makes its environment and what it hands on. Nothing is downloaded here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ECHO = "import sys\nprint(sys.argv[1:])\n"


def make_checkout(folder: Path) -> Path:
    root = folder / "a path with spaces"
    (root / "cli").mkdir(parents=True)
    (root / "cli/__init__.py").touch()
    (root / "cli/__main__.py").write_text(ECHO)
    shutil.copy(ROOT / "xray", root)
    for name in ("requirements.lock", "requirements-dev.lock"):
        (root / name).write_text("# nothing\n")
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout whose locks name no package and whose ``cli`` prints its arguments."""
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a checkout after its first command: making an environment with pip takes seconds."""
    root = make_checkout(tmp_path_factory.mktemp("made"))
    xray(root, "runs")
    return root


@pytest.fixture
def used(made: Path, tmp_path: Path) -> Path:
    """A copy of it for the test."""
    return Path(shutil.copytree(made, tmp_path / "used", symlinks=True))


def environment(**given: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "XRAY_PYTHON": sys.executable,
        **given,
    }


def xray(
    checkout: Path, *arguments: str, cwd: Path | None = None, **given: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "xray", *arguments],
        cwd=cwd,
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_without_an_environment(checkout):
    """Without an environment ``--help`` names the commands and makes nothing."""
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        answer = xray(checkout, *arguments)
        assert answer.returncode == 0
        assert "demo" in answer.stdout
    assert not (checkout / ".venv").exists()


def test_help_with_an_environment(used):
    """``help`` is ``--help``, of a command too, before and after the installation."""
    assert xray(used, "help").stdout == "['--help']\n"
    assert xray(used, "help", "run").stdout == "['run', '--help']\n"


def test_first_and_second_command(checkout, tmp_path):
    """The first command makes the environment, the second finds it; stdout holds the command's words only."""
    first = xray(checkout, "runs", "--pipeline", "a b", "*", "", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, "['runs', '--pipeline', 'a b', '*', '']\n")
    assert "installing" in first.stderr
    second = xray(checkout, "runs")
    assert (second.returncode, second.stderr) == (0, "")


def test_changed_lock(used):
    """A changed lock is installed anew, an unchanged one is not."""
    (used / "requirements.lock").write_text("# nothing, again\n")
    assert "installing" in xray(used, "runs").stderr
    assert xray(used, "runs").stderr == ""


def test_tests_need_more(used):
    """``test`` installs the development packages; then both kinds of commands find their environment."""
    answer = xray(used, "test")
    assert "installing" in answer.stderr
    assert "No module named pytest" in answer.stderr
    assert xray(used, "runs").stderr == ""


def test_interrupted_installation(used):
    """An environment without its stamp, as a killed installation leaves it, is completed."""
    (used / ".venv/.xray-stamp").unlink()
    answer = xray(used, "runs")
    assert answer.returncode == 0
    assert "installing" in answer.stderr


def test_broken_interpreter(used):
    """An environment whose interpreter is gone is made anew."""
    python = used / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert xray(used, "runs").returncode == 0


def test_commands_at_once(checkout):
    """Of commands that start together on a fresh checkout one installs, and all work."""
    started = [
        subprocess.Popen(
            [checkout / "xray", "runs"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert [(out, code) for out, _, code in answers] == [("['runs']\n", 0)] * 4
    assert sum("installing 0" in err for _, err, _ in answers) == 1


def test_no_module_of_the_working_directory(used, tmp_path):
    """Packages in the folder that the command is called from do not get in the way of ours."""
    (tmp_path / "elsewhere/cli").mkdir(parents=True)
    (tmp_path / "elsewhere/cli/__main__.py").write_text("print('wrong')")
    assert xray(used, "runs", cwd=tmp_path / "elsewhere").stdout == "['runs']\n"


def test_called_by_a_link(used, tmp_path):
    """A link to the script works like the script."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/xray").symlink_to(used / "xray")
    assert xray(tmp_path / "bin", "runs").stdout == "['runs']\n"


def test_interpreter_that_does_not_fit(checkout):
    """XRAY_PYTHON must be a Python that is new enough."""
    answer = xray(checkout, "runs", XRAY_PYTHON="/bin/false")
    assert answer.returncode == 1
    assert answer.stderr == "xray: XRAY_PYTHON='/bin/false': a Python 3.11 or newer is accepted\n"


def test_no_python(checkout, tmp_path):
    """Without a Python the Debian packages are named, with the command that installs them."""
    (tmp_path / "bin").mkdir()
    for program in ("sh", "readlink", "dirname", "id", "cksum", "grep"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    answer = xray(checkout, "runs", XRAY_PYTHON="", PATH=str(tmp_path / "bin"))
    assert answer.returncode == 1
    assert "apt-get install -y python3 python3-venv" in answer.stderr


def test_folder_that_cannot_be_written(checkout, tmp_path):
    """Where the environment cannot be made, XRAY_VENV is named."""
    (tmp_path / "file").touch()
    answer = xray(checkout, "runs", XRAY_VENV=str(tmp_path / "file/venv"))
    assert answer.returncode == 1
    assert "set XRAY_VENV to a folder" in answer.stderr


def test_environment_elsewhere(checkout, tmp_path):
    """XRAY_VENV moves the environment out of the checkout."""
    assert xray(checkout, "runs", XRAY_VENV=str(tmp_path / "venv")).returncode == 0
    assert (tmp_path / "venv/bin/python").exists()
    assert not (checkout / ".venv").exists()
