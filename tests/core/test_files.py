"""Writes are seen whole or not at all: after an error, on a full disk, and after a kill."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from neurosig.core.errors import StorageError
from neurosig.core.files import (
    atomic_path,
    atomic_write,
    check_writable,
    digest,
    resource_dir,
    sha256_file,
    sweep_unfinished,
)


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_text_and_bytes_are_written_and_replaced(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    assert atomic_write(path, "µ") == path
    assert path.read_bytes() == "µ".encode()
    atomic_write(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert left(path.parent) == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "store"
    for content in ("old", "new"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert left(tmp_path) == ["new", "store"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_error_in_between_leaves_the_old_content(tmp_path, interruption):
    path = atomic_write(tmp_path / "a", "old")
    with pytest.raises(interruption), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise interruption
    assert path.read_text() == "old"
    assert left(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "no permission to write there"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_the_system_refuses_is_one_line_and_leaves_the_old_content(tmp_path, code, advice, kind):
    target = tmp_path / "a"
    with atomic_path(target) as temporary:
        if kind == "folder":
            temporary.mkdir()
            (temporary / "content").write_text("old")
        else:
            temporary.write_text("old")
    with pytest.raises(StorageError, match=f"cannot write .*a: {advice}") as raised, atomic_path(target) as temporary:
        if kind == "folder":
            temporary.mkdir()
        raise OSError(code, os.strerror(code))
    assert "\n" not in str(raised.value)
    assert (target / "content" if kind == "folder" else target).read_text() == "old"
    assert not [name for name in left(tmp_path) if name.endswith(".partial")]


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").touch()
    swaps = []

    def replace(source, destination, real=os.replace):
        swaps.append(destination)
        if len(swaps) == 2:
            raise OSError(errno.ENOSPC, "full")
        real(source, destination)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StorageError, match="the disk is full"), atomic_path(target) as temporary:
        temporary.mkdir()
    assert left(tmp_path) == ["old", "store"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_is_really_full(tmp_path):
    with pytest.raises(StorageError, match="the disk is full"), atomic_path(tmp_path / "a"):
        Path("/dev/full").write_text("x" * 100_000)
    assert left(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("moment", ["opened", "half written", "written"])
def test_a_kill_leaves_the_old_content(tmp_path, moment):
    path = atomic_write(tmp_path / "a", "old")
    code = """
        import os, signal, sys
        from neurosig.core.files import atomic_path
        with atomic_path(sys.argv[1]) as temporary, open(temporary, "w") as stream:
            stream.write("new" * {"opened": 0, "half written": 100_000, "written": 1}[sys.argv[2]])
            if sys.argv[2] == "written":
                stream.close()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path, moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert [name for name in left(tmp_path) if name.endswith(".partial")]  # it had begun
    atomic_write(path, "new")  # what the killed one left behind is in nobody's way
    assert path.read_text() == "new"


def test_what_a_killed_write_left_is_swept_up_and_what_it_moved_aside_put_back(tmp_path):
    for name in (".out.abc.partial", ".out.v2.abc.partial"):
        (tmp_path / name / "previous").mkdir(parents=True)
        (tmp_path / name / "previous" / name).touch()
    (tmp_path / ".out.def.partial" / "out").mkdir(parents=True)
    sweep_unfinished(tmp_path / "out")
    assert left(tmp_path) == [".out.abc.partial", ".out.v2.abc.partial", ".out.v2.abc.partial", "out", "previous"]
    (tmp_path / ".out.ghi.partial" / "previous").mkdir(parents=True)
    sweep_unfinished(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".out.abc.partial"]
    assert not (tmp_path / ".out.ghi.partial").exists()
    atomic_write(tmp_path / ".out.v2", "a sibling of a like name is another")
    sweep_unfinished(tmp_path / "nowhere" / "out")


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "a", tmp_path / "file" / "deep" / "a"):
        with pytest.raises(StorageError, match="cannot write"):
            atomic_write(place, "x")
    with pytest.raises(StorageError, match="cannot write"):
        check_writable(tmp_path / "file")
    assert check_writable(tmp_path / "new") == tmp_path / "new"
    assert left(tmp_path / "new") == []


def test_sha256_is_that_of_the_content(tmp_path):
    data = np.random.default_rng(0).bytes(3000)
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a", chunk=1000) == hashlib.sha256(data).hexdigest()


def test_digest_depends_on_content_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    assert digest(Path("x") / "y") == digest("x/y")
    assert digest(np.float64(0.5), np.int64(3)) == digest(0.5, 3)
    assert digest("ab") != digest("a", "b")
    assert digest(1) != digest("1")
    assert digest(None) != digest("")
    assert len(digest("a", length=8)) == 8
    with pytest.raises(TypeError, match="JSON-like content, got object"):
        digest(object())
    with pytest.raises(TypeError, match="got ndarray"):
        digest(np.arange(3))


def test_digest_is_the_same_in_every_process():
    code = "from neurosig.core.files import digest; print(digest({'b': 1.5, 'a': ['x', None, True]}, 'µ'))"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert prints == {digest({"b": 1.5, "a": ["x", None, True]}, "µ") + "\n"}


def test_resources_are_found_and_a_missing_one_is_said():
    assert resource_dir("pipelines").is_dir()
    assert resource_dir("data_manifests").is_dir()
    with pytest.raises(StorageError, match="neurosig's own folder 'nothing' is missing"):
        resource_dir("nothing")


def test_a_folder_lost_between_two_renames_comes_back(tmp_path):
    # what a process leaves that is killed after moving the old folder aside
    previous = tmp_path / ".model.abc.partial" / "previous"
    previous.mkdir(parents=True)
    (previous / "config.json").write_text("old")
    target = tmp_path / "model"
    with pytest.raises(RuntimeError), atomic_path(target):
        raise RuntimeError("the new one fails as well")
    assert (target / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
