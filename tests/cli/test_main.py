from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tfdiff import __version__
from tfdiff.cli import COMMANDS, make_parser
from tfdiff.cli import main as run_main
from tfdiff.errors import IncomparableError, TfdiffError

NAMES = ("run", "record", "diff", "view", "info", "report", "bundle", "explain", "demo")


def test_commands_of_the_contract():
    """The commands are those of CONTRACT.md."""
    assert tuple(command.name for command in COMMANDS) == NAMES


def test_version(tfdiff):
    """--version goes to stdout, exit code 0."""
    ran = tfdiff("--version")
    assert (ran.code, ran.out) == (0, f"tfdiff {__version__}\n")


@pytest.mark.parametrize("name", NAMES)
def test_help(tfdiff, name):
    """Every command has a help page that begins with its usage and says what it does."""
    ran = tfdiff(name, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"usage: tfdiff {name} ")
    summary = re.search(rf"^    {name} +(\w+ \w+)", tfdiff("--help").out, re.MULTILINE)
    assert summary
    assert summary.group(1) in ran.out


def test_no_command_is_bad_usage(tfdiff):
    """Without a command: usage on stderr, exit code 2, nothing on stdout."""
    ran = tfdiff()
    assert (ran.code, ran.out) == (2, "")
    assert "usage: tfdiff" in ran.err


def test_options_are_not_abbreviated(tfdiff):
    """A misspelt option is an error, never a guess."""
    ran = tfdiff("record", "--forc", "a.py")
    assert ran.code == 2
    assert "a.py" in ran.err or "--forc" in ran.err


class Failing:
    """A command that raises what it is told to."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, _: object) -> int:
        """Raise it."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TfdiffError("wanted x, found y"), 2, "tfdiff: wanted x, found y\n"),
        (IncomparableError("nothing in common"), 3, "tfdiff: nothing in common\n"),
        (KeyboardInterrupt(), 130, "tfdiff: interrupted\n"),
        (FileNotFoundError(2, "No such file or directory", "x.h5"), 2, "tfdiff: x.h5: No such file or directory\n"),
    ],
)
def test_expected_failures_are_one_line(monkeypatch, capfd, error, code, said):
    """An expected failure is one line on stderr and its exit code; no traceback."""
    parser = make_parser()
    parser.set_defaults(command=Failing(error))
    monkeypatch.setattr("tfdiff.cli.make_parser", lambda: parser)
    monkeypatch.setattr(parser, "parse_args", lambda _: parser.parse_known_args(["explain"])[0])
    monkeypatch.setattr("tfdiff.cli.explain.ExplainCommand.run", Failing(error).run)
    assert run_main([]) == code
    out, err = capfd.readouterr()
    assert (out, err) == ("", said)


def test_a_mistake_of_ours_is_not_read_as_diverged(monkeypatch, tfdiff):
    """An unexpected error shows where it happened and ends with 2; python's own 1 would mean diverged."""
    monkeypatch.setattr("tfdiff.cli.explain.ExplainCommand.run", Failing(ZeroDivisionError("x")).run)
    ran = tfdiff("explain")
    assert ran.code == 2
    assert "ZeroDivisionError: x" in ran.err
    assert "please report" in ran.err


def test_closed_pipe_is_no_error(process):
    """`tfdiff --help | head` style readers that leave early cause no message and no other exit code."""
    program = "import sys; from tfdiff.cli.console import put; [put('x' * 9999) for _ in range(99)]; sys.exit(1)"
    piped = f'import subprocess, sys; p = subprocess.Popen([sys.executable, "-c", {program!r}], stdout=subprocess.PIPE)'
    ran = process("-c", f"{piped}; p.stdout.close(); sys.exit(p.wait() + 40)", program=())
    assert (ran.code, ran.err) == (41, "")


def test_ascii_terminal(process):
    """A name that the terminal cannot show is escaped, never a crash."""
    ran = process("-c", "from tfdiff.cli.console import put; put('\\u00fc')", program=("-X", "utf8=0"))
    assert ran.code == 0
    program = "import sys; sys.stdout.reconfigure(encoding='ascii'); from tfdiff.cli.console import put; put('\\u00fc')"
    ran = process("-c", program, program=())
    assert (ran.code, ran.out) == (0, "\\xfc\n")


def test_module_and_function_are_the_same_program(process):
    """`python -m tfdiff` answers as the console script does."""
    ran = process("--version")
    assert (ran.code, ran.out) == (0, f"tfdiff {__version__}\n")


def test_importing_tfdiff_is_cheap():
    """`import tfdiff` loads nothing but itself; its functions come when they are named."""
    program = "import sys, tfdiff; print(sorted(n for n in sys.modules if n.split('.')[0] in ('numpy', 'tfdiff')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tfdiff', 'tfdiff._version']"
