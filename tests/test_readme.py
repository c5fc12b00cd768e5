"""The README tells the truth: its snippets run, its commands exist, its generated tables are up to date."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
TEXT = (TOP / "README.md").read_text(encoding="utf-8")
# of this machine, where two installed packages do not fit each other; see neurosig.core.compat
_TORCHAUDIO = "ignore:torchaudio's compiled part does not fit"
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_generated_parts_are_up_to_date():
    done = subprocess.run(
        [sys.executable, TOP / ".ci" / "readme.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", _TORCHAUDIO, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_commands_exist(cli):
    commands = set(re.findall(r"^\s*neurosig ([a-z]+)", TEXT, re.MULTILINE))
    assert commands
    known = cli("--help").stdout
    for command in commands:
        assert f"  {command} " in known


def test_links_point_to_files():
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (TOP / target.split("#")[0]).exists(), target
