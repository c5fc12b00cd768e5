"""``neurosig datasets``."""

import json

import pytest


def test_list(cli):
    done = cli("datasets", "list")
    assert done.returncode == 0, done.stderr
    assert "eegmmidb-trials" in done.stdout
    assert "BNCI2014_001" in done.stdout
    answer = json.loads(cli("datasets", "list", "--json", "--paradigm", "ssvep").stdout)
    assert {item["paradigm"] for item in answer["datasets"]} == {"ssvep"}
    assert {"simulated-ssvep", "Wang2016"} <= {item["name"] for item in answer["datasets"]}


def test_list_here_needs_no_download(cli, monkeypatch):
    monkeypatch.delenv("NEUROSIG_DATA", raising=False)
    answer = json.loads(cli("datasets", "list", "--here", "--json").stdout)
    names = ["simulated-fmri", "simulated-imagery", "simulated-p300", "simulated-ssvep"]
    assert [item["name"] for item in answer["datasets"]] == names


def test_show(cli):
    done = cli("datasets", "show", "eegmmidb")
    assert done.returncode == 0
    assert "ODC-By 1.0" in done.stdout
    assert "left_hand, right_hand" in done.stdout
    answer = json.loads(cli("datasets", "show", "Cho2017", "--json").stdout)
    assert answer["source"] == {"moabb": "Cho2017"}
    assert len(answer["subject_names"]) == 52


@pytest.mark.parametrize("command", ["list", "show", "fetch", "verify"])
def test_help_has_examples(cli, command):
    done = cli("datasets", command, "--help")
    assert done.returncode == 0
    assert f"neurosig datasets {command}" in done.stdout.split("Examples:")[1]


def test_verify(cli, data_dir, tmp_path):
    done = cli("datasets", "verify", "muse-n170", "--data", data_dir)
    assert done.returncode == 0, done.stderr
    assert "4 ok" in done.stdout
    source = data_dir / "eegmmidb" / "epochs"
    for name in ("S001_mi.npz", "S002_mi.npz"):
        (tmp_path / name).write_bytes((source / name).read_bytes()[: -1 if name == "S002_mi.npz" else None])
    done = cli("datasets", "verify", "eegmmidb-trials", "--data", tmp_path, "--subjects", "1-3", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert [row["status"] for row in answer["files"]] == ["ok", "corrupt", "missing"]
    assert cli("datasets", "verify", "eegmmidb-trials", "--data", tmp_path, "--subjects", "1").returncode == 0


def test_verify_folder(cli, data_dir):
    done = cli("datasets", "verify", data_dir / "bci2_selfpaced")
    assert done.returncode == 0, done.stderr
    assert "1 ok" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "eegmmdb"), 2, "did you mean eegmmidb"),
        (("verify", "simulated-p300"), 2, "has no sums to check"),
        (("fetch", "bci2-selfpaced"), 1, "bci2-selfpaced cannot be fetched"),
        (("list", "--paradigm", "x"), 2, "--paradigm is imagery, p300, ssvep or fmri"),
        (("show", "none.yml"), 1, "none.yml: cannot be read (No such file or directory)"),
        (("verify", "eegmmidb", "--data", "nowhere"), 2, "no such folder: nowhere"),
    ],
)
def test_wrong_use_is_one_line(cli, monkeypatch, arguments, code, message):
    monkeypatch.delenv("NEUROSIG_DATA", raising=False)
    done = cli("datasets", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_hostile_manifest_is_one_line(cli, tmp_path):
    (tmp_path / "evil.yml").write_text("name: !!python/object/apply:os.system ['touch owned']")
    done = cli("datasets", "show", tmp_path / "evil.yml")
    assert done.returncode == 1
    assert "evil.yml, line 1: YAML tags that make Python objects are not allowed" in done.stderr
    assert not (tmp_path / "owned").exists()


def test_fetch_simulated(cli):
    done = cli("datasets", "fetch", "simulated-imagery")
    assert done.returncode == 0
    assert "nothing to fetch" in done.stdout
