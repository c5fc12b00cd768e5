"""fMRI from the command line, as a shell sees it."""

import json
import re

import nibabel
import numpy as np
import pytest

from neurosig.models.brainmae_embedder import BrainMAEEmbedder

PIPELINE = """\
name: FC
paradigms: [fMRI]
pipeline:
  - {name: FunctionalConnectivity, from: neurosig.preprocessing}
  - {name: LogisticRegression, from: sklearn.linear_model}
"""


def write_people(path, seed, n=12, t_r=2.0):
    """People of whom every second one's first two regions go together."""
    rng = np.random.default_rng(seed)
    runs = [rng.standard_normal((24 + i % 3, 3)) for i in range(n)]
    for i, run in enumerate(runs):
        run[:, 1] += (3 if i % 2 else -3) * run[:, 0]
    np.savez(
        path, X=np.concatenate(runs), length=[len(run) for run in runs], tr=t_r, y=np.arange(n) % 2,
        class_names=np.array(["apart", "together"]), subject=np.array([f"s{seed}{i:02d}" for i in range(n)]),
        site=np.array(["A", "A", "B", "B"] * (n // 4)), region_names=np.array(["V1", "V2", "M1"]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with people to learn from, others, an image, and a pipeline."""
    folder = tmp_path_factory.mktemp("fmri")
    write_people(folder / "people.npz", 1)
    write_people(folder / "others.npz", 2, n=4)
    (folder / "fc.yml").write_text(PIPELINE)
    data = np.random.default_rng(0).normal(100, 5, (2, 2, 2, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) * 3), folder / "no_tr_bold.nii.gz")
    (folder / "torn_bold.nii.gz").write_bytes((folder / "no_tr_bold.nii.gz").read_bytes()[:150])
    np.savetxt(folder / "wide.1D", np.random.default_rng(0).standard_normal((4, 9)))
    return folder


def test_the_way_from_runs_to_answers(cli, place, tmp_path):
    done = cli(
        "benchmark", "-d", place / "people.npz", "-p", place / "fc.yml", "--folds", "site", "-o", "results", "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["evaluation"], answer["folds"]) == ("cross_site", "site")
    assert answer["ranking"][0]["mean"] == 1.0
    assert (tmp_path / "results" / "report.html").is_file()

    done = cli("train", "-d", place / "people.npz", "-p", place / "fc.yml", "-o", "model")
    assert done.returncode == 0, done.stderr
    assert "FC trained on people: 12 runs, 12 subjects, classes apart, together" in done.stdout
    assert "new people: AUC 1.000" in done.stdout

    card = (tmp_path / "model" / "README.md").read_text()
    for line in ("3 regions, matched by name", "Atlas: ", "Repetition time: 2 s", "Series: ", "Length: runs of 24 to "):
        assert line in card

    done = cli("decode", "-m", "model", place / "others.npz", "-o", "decoded")
    assert done.returncode == 0, done.stderr
    said = re.search(r"others.npz\[1\]: 50.0 s at repetition time 2 s, (.+); 3 of 3 regions by name", done.stdout)
    assert re.fullmatch(r"together \(probability 0\.\d\d\), label together", said[1])
    assert "as the labels say: 100.0% of 4" in done.stdout
    table = (tmp_path / "decoded" / "decoded.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in table[1:]] == ["apart", "together"] * 2
    assert "4 runs of 4 recordings" in (tmp_path / "decoded" / "report.html").read_text()


def test_pretrain_brainmae(cli, place, tmp_path):
    tiny = ["emb_size=8", "n_heads=2", "depth=1", "temporal_depth=1", "segment=8.0", "n_segments=2"]
    done = cli(
        "pretrain", "brainmae", place / "people.npz", "-o", "network", "--epochs", 2, "--validation", 0.25,
        "--device", "cpu", *(part for pair in tiny for part in ("--set", pair)), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["estimator"], answer["n_runs"], answer["t_r"]) == ("BrainMAEEmbedder", 12, 2.0)
    assert len(answer["history"]) == 2
    assert len(answer["held_back"]) == 3
    card = (tmp_path / "network" / "README.md").read_text()
    assert f"to judge each epoch (valid_ below): 3 people, {', '.join(answer['held_back'])}" in card
    assert BrainMAEEmbedder.from_pretrained(tmp_path / "network").emb_size == 8


def test_datasets(cli, data_dir):
    answer = json.loads(cli("datasets", "list", "--paradigm", "fmri", "--json").stdout)
    assert {"abide", "abide-1d", "haxby-mini", "fmri-story"} <= {item["name"] for item in answer["datasets"]}
    done = cli("datasets", "verify", "haxby-mini", "--data", data_dir)
    assert done.returncode == 0, done.stderr
    assert "16 ok" in done.stdout
    done = cli("datasets", "show", "abide")
    assert "non-commercial" in done.stdout
    assert "for local evaluation only" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "-d", "no_tr_bold.nii.gz", "-p", "fc.yml"), 2, "volumes need an atlas"),
        (("train", "-d", "no_tr_bold.nii.gz", "-p", "fc.yml", "--atlas", "voxels"), 1, "repetition time"),
        (("train", "-d", "no_tr_bold.nii.gz", "-p", "fc.yml", "--atlas", "voxels", "--t-r", 2000), 2, "milliseconds"),
        (("train", "-d", "no_tr_bold.nii.gz", "-p", "fc.yml", "--atlas", "voxels", "--t-r", 2), 1, "--labels"),
        (("train", "-d", "torn_bold.nii.gz", "-p", "fc.yml", "--atlas", "voxels"), 1, "torn_bold.nii.gz"),
        (("train", "-d", "wide.1D", "-p", "fc.yml"), 1, "is it transposed?"),
        (("train", "-d", "people.npz", "-p", "fc.yml", "--events", "apart"), 1, "one class only (apart)"),
        (("train", "-d", "people.npz", "-p", "fc.yml", "--labels", "sitee"), 2, "did you mean site?"),
        (("benchmark", "-d", "people.npz", "-p", "fc.yml", "--tmax", 3), 2, "tmax cuts trials"),
        (("benchmark", "-d", "people.npz", "-p", "fc.yml", "--fmri", "atlas"), 2, "--fmri takes NAME=VALUE"),
        (("benchmark", "-d", "simulated-imagery", "--t-r", 2), 2, "t_r belongs to fMRI"),
        (("pretrain", "brainmae", "people.npz", "--window", 5), 2, "--window is for EEG and MEG"),
        (("pretrain", "tfm", "people.npz", "--t-r", 2), 2, "is for fMRI, tfm learns from EEG or MEG"),
    ],
    ids=lambda value: None if isinstance(value, int) else "-".join(map(str, value))[:40],
)
def test_bad_input_is_one_line_and_leaves_nothing(cli, place, tmp_path, arguments, code, message):
    out = tmp_path / "out"
    done = cli(*arguments, "--out", out, cwd=place)
    assert done.returncode == code, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in done.stderr
    assert not out.exists() or arguments[0] == "benchmark"


@pytest.mark.parametrize("command", ["benchmark", "train", "decode", "pretrain"])
def test_help_teaches_fmri(cli, command):
    done = cli(command, "--help")
    assert done.returncode == 0
    assert "--atlas" in done.stdout
    assert "fMRI" in done.stdout


def test_without_pipelines_the_baselines_of_fmri_run(place):
    from neurosig.evaluation.request import open_datasets, read_specs

    entries = open_datasets(place / "people.npz", data=None, events=None, subjects=None, processing={})
    read_specs(entries, None, None)
    names = [spec.name for spec in entries[0].specs]
    assert "FC+LR" in names
    assert not [name for name in names if "BrainMAE" in name]  # networks take hours: they are asked for
