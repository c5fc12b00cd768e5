"""The command line as a shell sees it: exit codes, one-line errors, what goes to which stream."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap

import lives
import pytest

from neurosig._version import __version__
from neurosig.cli.app import main

COMMANDS = [
    "demo", "datasets", "inspect", "preprocess", "benchmark", "networks", "pretrain", "tokenize", "train", "decode",
    "report", "doctor",
]  # fmt: skip
ESCAPE = "\x1b["


@pytest.fixture
def failing(tmp_path):
    """Run a command whose body is the given Python code: ``failing("raise ValueError('x')", "--debug")``."""

    return lambda body, *args, **environment: lives.python(_program(body), "boom", *args, cwd=tmp_path, **environment)


def _program(body):
    code = textwrap.indent(textwrap.dedent(body), "    ")
    return (
        f"import errno, sys\nfrom neurosig.cli import app\n@app.app.command('boom')\ndef boom():\n{code}\napp.main()\n"
    )


def test_help_lists_the_commands_in_the_order_of_a_users_day(cli):
    done = cli("--help")
    assert done.returncode == 0
    listed = re.findall(r"^  (\w+)  ", done.stdout.split("Commands:")[1], re.MULTILINE)
    assert listed == COMMANDS
    assert not done.stderr


def test_help_imports_nothing_heavy():
    """Not even that of a command: a user who asks for help is answered at once."""
    heavy = "numpy pandas scipy sklearn mne torch moabb matplotlib braindecode"
    code = f"""
import sys
from neurosig.cli.app import main
for words in {[["--help"], *([command, "--help"] for command in COMMANDS)]!r}:
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0
print([name for name in {heavy.split()!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(cli, command):
    done = cli(command, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: neurosig {command}")
    text = done.stdout if command != "datasets" else cli("datasets", "show", "--help").stdout
    assert re.search(rf"^ +neurosig {command}\b", text, re.MULTILINE), "an example is missing"


def test_without_arguments_the_help_is_shown_and_the_use_is_wrong(cli):
    done = cli()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_version(cli):
    done = cli("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"neurosig {__version__}")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["doctr"], "error: No such command 'doctr'. Did you mean 'doctor'? (see: neurosig --help)"),
        (["doctor", "--fast"], "error: No such option: --fast (see: neurosig doctor --help)"),
        (["train"], "error: Missing option '--dataset'"),
        (["decode", "--model", "m"], "error: Missing argument"),
    ],
)
def test_wrong_use_is_one_line_and_exits_with_2(cli, args, message):
    done = cli(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(message)


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("from neurosig.core.errors import InputError; raise InputError('a.edf is empty')", 1, "error: a.edf is empty"),
        ("from neurosig.core.errors import UsageError; raise UsageError('no such\\n  name')", 2, "error: no such name"),
        (
            "raise OSError(errno.ENOSPC, 'No space', '/x/y')",
            1,
            "error: the disk is full; free space or write to another",
        ),
        (
            "open('/proc/1/mem', 'wb') if False else None; raise PermissionError(errno.EACCES, 'no', '/x')",
            1,
            "error: no permission to read or write there",
        ),
        ("raise MemoryError", 1, "error: not enough memory; use fewer subjects"),
        (
            "raise KeyError('gone')",
            1,
            "internal error: KeyError: 'gone' (this is a defect of neurosig; rerun with --debug for the traceback)",
        ),
        ("raise FileNotFoundError(errno.ENOENT, 'No such file', 'x')", 1, "internal error: FileNotFoundError"),
        ("raise KeyboardInterrupt", 130, "stopped; run the same command again to start over"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(failing, body, code, line):
    done = failing(body)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["inspect", "gone.edf", "--json"], 1, "no such file: gone.edf; check the path"),
        (["--json", "inspect"], 2, "No such option: --json"),
        (["benchmark", "--json"], 2, "Missing option '--dataset'"),
        (["benchmark", "--dataset", "nothing_of_that_name", "--json"], 2, "no dataset is called"),
    ],
)
def test_who_waits_for_json_gets_the_error_as_json(arguments, code, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wanted in (arguments, [word for word in arguments if word != "--json"]):
        with pytest.raises(SystemExit) as left:
            main(wanted)
        assert left.value.code == (2 if wanted == ["inspect"] else code)
        stdout, stderr = capsys.readouterr()
        if wanted is arguments:
            answer = json.loads(stdout)
            assert answer["exit_code"] == code and answer["error"].startswith(told)
            assert stderr == f"error: {answer['error']}\n"
        else:
            assert "{" not in stdout


def test_an_answer_in_json_stays_the_only_object(tmp_path):
    body = "from neurosig.cli.console import emit_json; emit_json({'a': 1}); raise KeyError('late')"
    done = lives.python(
        _program(body).replace("def boom():", "def boom(json: bool = False):"), "boom", "--json", cwd=tmp_path
    )
    assert done.returncode == 1 and json.loads(done.stdout) == {"a": 1}


@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback_wherever_it_stands(tmp_path, where):
    program = _program("raise KeyError('gone')")
    args = ["--debug", "boom"] if where == "before" else ["boom", "--debug"]
    done = lives.python(program, *args, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "internal error: KeyError: 'gone' (this is a defect of neurosig)"


def test_options_behind_two_dashes_belong_to_the_command():
    from neurosig.cli.app import _options_first

    assert _options_first(["decode", "--debug", "-v", "a"]) == ["--debug", "-v", "decode", "a"]
    assert _options_first(["decode", "--", "--debug"]) == ["decode", "--", "--debug"]


WARNINGS = """
from neurosig.core.log import logger
def warn(text, module):
    exec(f"import warnings; warnings.warn('{text}', UserWarning, stacklevel=2)", {'__name__': module})
warn('foreign matter', 'foreign')
warn('our matter', 'neurosig.loaders.x')
import logging; logging.getLogger('foreign').warning('foreign record')
logger.warning('our record')
"""


def test_only_our_own_warnings_reach_the_user(failing):
    done = failing(WARNINGS)
    assert done.returncode == 0
    assert done.stderr.splitlines() == ["warning: our matter", "our record"]


def test_verbose_shows_all_warnings(failing):
    done = failing(WARNINGS, "--verbose")
    assert done.returncode == 0
    for text in ("foreign matter", "our matter", "foreign record", "our record"):
        assert text in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    program = _program("for i in range(200000):\n    print(i)")
    process = subprocess.Popen(
        [sys.executable, "-c", program, "boom"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=300) == 1


def test_ctrl_c_stops_with_130(tmp_path, interruptible):
    program = _program("import time\nprint('begun', flush=True)\ntime.sleep(3600)")
    with subprocess.Popen(
        [sys.executable, "-c", program, "boom"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path, preexec_fn=interruptible,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.strip() == "stopped; run the same command again to start over"


SAY = "from neurosig.cli import console; console.say('warm', style='red'); console.show_table(['a'], [['x' * 90]])"


def test_no_colour_outside_a_terminal(failing):
    done = failing(SAY)
    assert "warm" in done.stdout
    assert ESCAPE not in done.stdout


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_on_a_terminal_unless_refused(no_color):
    main, other = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    code = "from neurosig.cli import console; console.say('warm', style='red')"
    subprocess.run([sys.executable, "-c", code], stdout=other, env=environment, check=True, timeout=300)
    os.close(other)
    shown = os.read(main, 10_000).decode()
    os.close(main)
    assert "warm" in shown
    assert ("\x1b[31m" in shown) is not no_color


def test_columns_is_honoured(cli, failing):
    assert max(map(len, failing(SAY, COLUMNS="40").stdout.splitlines())) <= 40
    assert max(map(len, cli("--help", COLUMNS="60").stdout.splitlines())) <= 60


@pytest.mark.parametrize(("arguments", "end"), [
    (["benchmark", "-d", "x"], "resume"),
    (["--debug", "demo"], "resume"),
    (["preprocess", "x.edf"], "resume"),
    (["datasets", "fetch", "x"], "resume"),
    (["datasets", "list"], "start over"),
    (["train", "-d", "benchmark"], "start over"),
    ([], "start over"),
])  # fmt: skip
def test_ctrl_c_promises_to_resume_only_where_that_is_so(arguments, end):
    from neurosig.cli.app import _stopped

    assert _stopped(arguments) == f"stopped; run the same command again to {end}"
