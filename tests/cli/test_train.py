"""``neurosig train`` as a shell sees it."""

import json
import os
import stat

import pytest

from neurosig.evaluation.trained import TrainedPipeline
from neurosig.loaders.simulated import simulate_recordings

CHANNELS = ["F3", "F4", "C3", "Cz", "C4", "P3", "P4"]
BAND = ["--fmin", "8", "--fmax", "32", "--tmin", "0.5", "--tmax", "2.5"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two runs of one person, with the annotations of PhysioNet's files."""
    place = tmp_path_factory.mktemp("recordings")
    for item in simulate_recordings("imagery", 1, 1, 2, 16, ch_names=CHANNELS):
        item.raw.annotations.rename({"left_hand": "T1", "right_hand": "T2"})
        item.raw.save(place / f"S001R0{int(item.run) + 4}_raw.fif", fmt="double", verbose="error")
    return place


def test_train_stores_a_model_with_its_score(cli, recordings, tmp_path):
    done = cli("train", "--dataset", recordings, "--pipeline", "LogVar+LDA", "--events", "left=T1,right=T2", *BAND,
               "--out", "model")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "LogVar+LDA trained on" in done.stdout
    assert "32 trials, 1 subject, classes left, right" in done.stdout
    assert "new runs of the same people: AUC" in done.stdout
    assert "chance 0.500" in done.stdout
    assert "neurosig decode --model model RECORDING" in done.stdout
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "pipeline.skops",
    ]
    model = TrainedPipeline.load(tmp_path / "model")
    assert model.classes == ("left", "right")
    assert (model.spec.processing.fmin, model.spec.processing.tmax, model.spec.unit) == (8.0, 2.5, "uV")
    assert model.card["read"]["events"] == {"left": "T1", "right": "T2"}


def test_json_is_one_object_alone_on_stdout(cli, recordings):
    given = ["-d", recordings, "-p", "LogVar+LDA", "--events", "left=T1,right=T2", *BAND, "-o", "m"]
    done = cli("train", *given, "--json", "--seed", "3", "--folds", "chronological", "--n-splits", "2")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == "m"
    assert answer["classes"] == ["left", "right"]
    assert answer["seed"] == 3
    assert answer["scores"][0]["folds"] == "chronological"
    assert done.stderr.splitlines() == [f"{recordings.name}: 2 files taken as 1 subject, 2 runs"]  # not on stdout


def test_a_pipeline_of_ones_own_and_no_estimate(cli, recordings, tmp_path):
    (tmp_path / "mine.yml").write_text(
        "name: Mine\nparadigms: [LeftRightImagery]\npipeline:\n"
        "  - {name: Covariances, from: pyriemann.estimation, parameters: {estimator: oas}}\n"
        "  - {name: MDM, from: pyriemann.classification}\n"
    )
    given = ("train", "-d", recordings, "-p", "mine.yml", *BAND, "-o", "model", "--no-cv")
    done = cli(*given)
    assert done.returncode == 0, done.stderr
    assert "was not estimated (--no-cv)" in done.stderr
    assert TrainedPipeline.load(tmp_path / "model").card["pipeline"]["name"] == "Mine"
    card = tmp_path / "model" / "README.md"
    card.write_text("the first model")
    again = cli(*given)
    assert (again.returncode, card.read_text()) == (1, "the first model")
    assert "holds a model already; choose another folder, or pass --overwrite to replace it" in again.stderr
    assert cli(*given, "--overwrite").returncode == 0
    assert "Mine" in card.read_text()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--pipeline", "LogVar+LDX"], 2, "LogVar+LDA"),
        (["--pipeline", "nothing.yml"], 2, "no such pipeline file"),
        (["--dataset", "no-such-set"], 2, "no-such-set"),
        (["--dataset", "gone.edf"], 2, "gone.edf"),
        (["--events", "left="], 2, "events are written name=annotation"),
        (["--events", "left=T1,left=T2"], 2, "event 'left' is given twice"),
        (["--events", "left=T7,right=T8"], 1, "T7"),
        (["--events", "left=T1"], 1, "one class only (left)"),
        (["--subjects", "9"], 2, "no subject '9'"),
        (["--fmin", "30", "--fmax", "10"], 2, "fmax must lie above fmin"),
        (["--fmax", "90"], 1, "the band must end below 64 Hz"),
        (["--folds", "random"], 2, "folds must be one of"),
        (["--folds", "subject"], 1, "need at least two subjects"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(cli, recordings, tmp_path, args, code, message):
    given = {"--dataset": str(recordings), "--pipeline": "LogVar+LDA", "--events": "left=T1,right=T2",
             **dict(zip(BAND[::2], BAND[1::2], strict=True))}  # fmt: skip
    given |= dict(zip(args[::2], args[1::2], strict=True))
    done = cli("train", *(part for pair in given.items() for part in pair), "--out", "deep/model")
    assert done.returncode == code, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(cli, recordings, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    done = cli("train", "-d", recordings, "-p", "LogVar+LDA", "-o", "photos")
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: cannot store a model in photos: the folder holds other files; choose a new or empty folder\n"
    )
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission(cli, recordings, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = cli("train", "-d", recordings, "-p", "LogVar+LDA", "-o", "locked/model")
    locked.chmod(stat.S_IRWXU)
    assert done.returncode == 1
    assert "no permission" in done.stderr


def test_a_place_that_cannot_be_written_is_found_before_the_work(cli, recordings):
    done = cli("train", "-d", recordings, "-p", "LogVar+LDA", "-o", "/proc/nowhere/model")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write /proc/nowhere")
    assert done.stderr.count("\n") == 1


def test_names_and_events_as_they_are_written():
    from neurosig.cli.options import parse_events, parse_names
    from neurosig.core.errors import UsageError

    assert parse_names("1, 3,7-9,S02") == ["1", "3", "7", "8", "9", "S02"]
    assert parse_names("008-010") == ["008", "009", "010"]
    assert parse_names(None) is None
    assert parse_events("hands=T1+T2, rest=T0") == {"hands": ["T1", "T2"], "rest": "T0"}
    assert parse_events("T1,T2") == {"T1": "T1", "T2": "T2"}
    for text in (" , ", "9-3"):
        with pytest.raises(UsageError):
            parse_names(text)
