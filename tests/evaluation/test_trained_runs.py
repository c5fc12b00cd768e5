"""Pipelines trained on runs of fMRI, stored, and applied to new runs of other files."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.evaluation.decoded_runs import map_regions
from neurosig.evaluation.trained import TrainedPipeline, train
from neurosig.loaders.manifest import open_dataset
from neurosig.preprocessing import FunctionalConnectivity
from neurosig.reports.decode import write_decode_report

NAMES = ["V1", "V2", "M1", "A1"]


def runs_of(classes, seed, t_r=2.0):
    """Runs of 30 to 33 volumes in which V1 and V2 go together (class "on") or against each other ("off")."""
    rng = np.random.default_rng(seed)
    runs = []
    for place, name in enumerate(classes):
        run = rng.standard_normal((30 + place % 4, 4))
        run[:, 1] += (3 if name == "on" else -3) * run[:, 0]
        runs.append(run)
    return runs


def write(path, classes, seed, names=NAMES, t_r=2.0, **columns):
    runs = runs_of(classes, seed)
    codes = np.array([name == "on" for name in classes]).astype(int)
    np.savez(
        path, X=np.concatenate(runs)[:, [NAMES.index(name) for name in names]], length=[len(run) for run in runs],
        y=codes, class_names=np.array(["off", "on"]), tr=t_r, region_names=np.array(names),
        subject=np.array([f"p{seed}{i:02d}" for i in range(len(classes))]), **columns,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(FunctionalConnectivity(missing="mean"), LogisticRegression())


@pytest.fixture(scope="module")
def model(pipeline, tmp_path_factory):
    """Trained on twenty people, stored and read again."""
    folder = tmp_path_factory.mktemp("model")
    path = write(folder / "people.npz", ["on", "off"] * 10, 1, site=np.array(["A", "A", "B", "B"] * 5))
    trained = train(open_dataset(path), pipeline, show_progress=False)
    trained.save(folder / "stored")
    return TrainedPipeline.load(folder / "stored")


def test_the_score_is_of_people_left_out(model):
    (score,) = model.card["scores"]
    assert (score["question"], score["folds"], score["n_folds"], score["n_trials"]) == ("new people", "subject", 5, 20)
    assert score["mean"] == 1.0
    assert len(score["scores"]) == 5
    assert model.classes == ("off", "on")
    assert (model.spec.modality, model.spec.t_r, model.spec.ch_names) == ("fmri", 2.0, tuple(NAMES))
    assert model.card["dataset"]["trials_per_class"] == {"off": 10, "on": 10}
    assert "nilearn" in model.card["versions"]


def test_the_bound_of_chance_is_that_of_all_who_were_tested(model):
    """Five folds of four people each: what guessing reaches in one of them says little of their mean."""
    from neurosig.evaluation.metrics import chance_level

    (score,) = model.card["scores"]
    one, every = chance_level({"off": 2, "on": 2}, "roc_auc"), chance_level({"off": 10, "on": 10}, "roc_auc")
    assert one.upper == 1.0
    assert score["chance_upper"] == pytest.approx(0.5 + (one.upper - 0.5) / np.sqrt(5))
    assert every.upper - 0.02 < score["chance_upper"] < 0.75


def test_folds_over_sites_and_those_that_cannot_be(pipeline, tmp_path):
    path = write(tmp_path / "people.npz", ["on", "off"] * 4, 1, site=np.array(["A", "A", "B", "B"] * 2))
    trained = train(open_dataset(path), pipeline, folds="site", show_progress=False)
    assert (trained.card["scores"][0]["question"], trained.card["scores"][0]["n_folds"]) == ("new sites", 2)
    with pytest.raises(UsageError, match="folds are subject or site"):
        train(open_dataset(path), pipeline, folds="chronological", show_progress=False)
    assert train(open_dataset(path), pipeline, folds=None).card["scores"] == []


@pytest.mark.parametrize(
    ("classes", "changes", "message"),
    [
        (["on"] * 4, {}, "one class only"),
        (["on", "off"], {"y": None}, "name a column of the people's table"),
        (["on", "off", "on"], {"y": np.array([20.5, 30.5, 40.5])}, "labels of people are numbers"),
    ],
)
def test_labels_that_cannot_be_learned(pipeline, tmp_path, classes, changes, message):
    path = write(tmp_path / "people.npz", classes, 1)
    with np.load(path) as stored:
        arrays = {**stored, **changes}
    kept = {name: value for name, value in arrays.items() if value is not None}
    if changes:
        kept.pop("class_names")
    np.savez(path, **kept)
    with pytest.raises((InputError, UsageError), match=message):
        train(open_dataset(path), pipeline, show_progress=False)


def test_new_runs_are_decoded_one_answer_each(model, tmp_path):
    classes = ["off", "on", "on", "off"]
    decoded = model.decode(write(tmp_path / "new.npz", classes, 2))
    table = decoded.table
    assert table["predicted"].tolist() == classes
    assert table["file"].tolist() == [f"new.npz[{i}]" for i in range(4)]
    np.testing.assert_allclose(table["duration"], [60.0, 62.0, 64.0, 66.0])
    np.testing.assert_allclose(table["p_off"] + table["p_on"], 1.0)
    assert decoded.report["mode"] == "runs"
    assert decoded.report["warnings"] == []
    assert decoded.report["recordings"][0]["mapping"] == "4 of 4 regions by name"


def test_regions_are_matched_by_name(model, tmp_path):
    straight = model.decode(write(tmp_path / "a.npz", ["on", "off"], 3)).table
    turned = model.decode(write(tmp_path / "b.npz", ["on", "off"], 3, names=["A1", "V2", "M1", "V1"])).table
    np.testing.assert_allclose(straight["p_on"], turned["p_on"], rtol=1e-5)


def test_a_region_that_is_missing(model, tmp_path):
    path = write(tmp_path / "few.npz", ["on", "off"], 4, names=["V1", "V2", "M1"])
    with pytest.raises(ChannelError, match="few: regions A1 of training are missing"):
        model.decode(path)
    table = model.decode(path, on_missing="drop")  # edges of a missing region are those of training
    assert table.table["predicted"].tolist() == ["on", "off"]
    assert "regions of training that were not there: A1" in table.report["warnings"]
    with pytest.raises(UsageError, match="cannot be interpolated"):
        model.decode(path, on_missing="interpolate")


def test_another_repetition_time(model, tmp_path):
    path = write(tmp_path / "fast.npz", ["on", "off"], 5, t_r=1.0)
    with pytest.raises(ChannelError, match=r"expected a repetition time of 2 s, as in training, got 1 s"):
        model.decode(path)
    decoded = model.decode(path, on_sfreq="resample")
    assert decoded.table["predicted"].tolist() == ["on", "off"]
    assert decoded.report["recordings"][0]["mapping"].endswith("resampled from t_r 1 s")
    np.testing.assert_allclose(decoded.table["duration"], [30.0, 32.0])  # every second volume


@pytest.fixture(scope="module")
def model_of_two_times(pipeline, tmp_path_factory):
    """Trained on runs of 2 s and of 3 s."""
    folder = tmp_path_factory.mktemp("times")
    path = write(folder / "people.npz", ["on", "off"] * 4, 1, t_r=[2.0, 2.0, 3.0, 3.0] * 2)
    return train(open_dataset(path), pipeline, folds=None)


def test_a_repetition_time_that_no_run_of_training_had(model_of_two_times, tmp_path):
    assert model_of_two_times.card["dataset"]["t_r"] == [2.0, 3.0] and model_of_two_times.spec.t_r is None
    for t_r in (2.0, 3.0):
        told = model_of_two_times.decode(write(tmp_path / f"same{t_r:g}.npz", ["on", "off"], 5, t_r=t_r))
        assert told.table["predicted"].tolist() == ["on", "off"] and told.report["warnings"] == []
    for t_r in (0.8, 2.5):
        path = write(tmp_path / f"other{t_r:g}.npz", ["on", "off"], 5, t_r=t_r)
        with pytest.raises(
            ChannelError, match=rf"expected a repetition time of 2 or 3 s, as in training, got {t_r:g} s"
        ):
            model_of_two_times.decode(path)
        decoded = model_of_two_times.decode(path, on_sfreq="resample")
        nearest = 2.0 if t_r == 0.8 else 3.0  # 2.5 s is 5 / 4 of 2 s, and 5 / 6 of 3 s
        assert decoded.report["recordings"][0]["t_r"] == t_r
        volumes = np.floor((np.array([30, 31]) - 1) * t_r / nearest + 1e-9) + 1
        np.testing.assert_allclose(decoded.table["duration"], volumes * nearest)


def test_a_repetition_time_that_nobody_says_is_asked_for(model, model_of_two_times, tmp_path):
    series = np.random.default_rng(0).standard_normal((40, 4))
    np.savetxt(tmp_path / "run.1D", series, header="\t".join(NAMES), comments="", delimiter="\t")
    for trained, said in ((model, "2"), (model_of_two_times, "2 or 3")):
        with pytest.raises(InputError, match=rf"run\.1D does not say .* \(that of training was {said} s\); pass t_r="):
            trained.decode(tmp_path / "run.1D")
        assert len(trained.decode(tmp_path / "run.1D", read={"t_r": 2.0}).table) == 1


def test_what_was_said_of_the_training_is_not_said_of_new_runs(pipeline, tmp_path):
    rng = np.random.default_rng(0)
    for place in range(6):
        path = tmp_path / f"sub-{place:02d}_rest.1D"
        np.savetxt(path, rng.standard_normal((30, 4)), header="\t".join(NAMES), comments="", delimiter="\t")
    people = "".join(f"sub-{place:02d}\t{'ab'[place % 2]}\n" for place in range(6))
    (tmp_path / "participants.tsv").write_text("participant_id\tdx\n" + people)
    trained = train(open_dataset(tmp_path, fmri={"t_r": 2.0, "labels": "dx"}), pipeline, folds=None)
    with pytest.raises(InputError, match="does not say the repetition time"):
        trained.decode(tmp_path / "sub-00_rest.1D")
    silent = open_dataset(tmp_path, fmri={"labels": "dx"})
    with pytest.warns(UserWarning, match="do not say the repetition time"):
        untimed = train(silent, pipeline, folds=None)
    decoded = untimed.decode(tmp_path / "sub-00_rest.1D")  # no time was learned from, none is needed
    assert np.isnan(decoded.table["duration"]).all() and decoded.report["recordings"][0]["seconds"] is None
    assert any("does not say the repetition time of its training" in text for text in decoded.report["warnings"])


def test_a_table_without_names_and_the_names_of_training(model, tmp_path):
    np.save(tmp_path / "bare.npy", np.random.default_rng(0).standard_normal((40, 4)))
    with pytest.raises(ChannelError, match=r"does not name its regions.*say regions='training'"):
        model.decode(tmp_path / "bare.npy", read={"t_r": 2.0})
    decoded = model.decode(tmp_path / "bare.npy", read={"t_r": 2.0, "regions": "training"})
    assert decoded.report["recordings"][0]["mapping"] == "4 of 4 regions by name"
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((40, 3)))
    with pytest.raises(ChannelError, match="its 3 regions, the training had 4"):
        model.decode(tmp_path / "few.npy", read={"t_r": 2.0})


def test_a_file_that_bears_the_name_of_a_person_of_training(model, tmp_path):
    series = np.random.default_rng(0).standard_normal((40, 4))
    for name in ("study_p104_rest.1D", "study_p1041_rest.1D"):
        np.savetxt(tmp_path / name, series, header="\t".join(NAMES), comments="", delimiter="\t")
    told = model.decode(tmp_path / "study_p104_rest.1D", read={"t_r": 2.0}).report["warnings"]
    assert told[0].startswith("study_p104_rest.1D bears the name of p104, who was trained on")
    assert model.decode(tmp_path / "study_p1041_rest.1D", read={"t_r": 2.0}).report["warnings"] == []


def test_runs_that_are_simulated_are_not_read(tmp_path):
    made = open_dataset("simulated-fmri").load(subjects=[str(i) for i in range(1, 9)])
    trained = train(made, make_pipeline(FunctionalConnectivity(), LogisticRegression()), folds=None)
    told = {"card": {**trained.card, "read": {"fmri": {"confounds": "auto", "t_r": 2.0}}}}
    again = TrainedPipeline(trained.pipeline, trained.spec, trained.classes, **told)
    assert len(again.decode("simulated-fmri").table) >= 8


def test_people_of_the_training_are_told(model, tmp_path):
    again = write(tmp_path / "people.npz", ["on", "off"] * 10, 1)
    assert model.decode(again).report["warnings"][0].startswith("20 of these people were trained on (p100, p101, p102")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (4.0, 2.0)}, "trained on whole runs"),
        ({"events": ["on"]}, "trained on whole runs"),
        ({"read": {"sfreq": 100.0}}, "sfreq is for EEG and MEG"),
    ],
)
def test_options_that_make_no_sense(model, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        model.decode(write(tmp_path / "new.npz", ["on", "off"], 6), **options)


def test_mapping_keeps_values_and_marks_what_is_not_there(model):
    have = model.spec.replace(ch_names=("M1", "V1"), ch_types=(), unit="z")
    X, mapping = map_regions([np.arange(6.0).reshape(2, 3)], have, model.spec, "drop")
    np.testing.assert_array_equal(X[0], [[3, 4, 5], [np.nan] * 3, [0, 1, 2], [np.nan] * 3])
    assert mapping == {"missing": ["V2", "A1"], "unused": []}
    with pytest.raises(ChannelError, match="'a\\.u\\.'; standardise them alike"):
        map_regions(X, have.replace(unit="a.u."), have)


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Runs of 4 voxels at 2 s, the first of which rises after "a", the second after "b"; a model of two of them."""
    import nibabel
    from mne.decoding import Vectorizer

    folder = tmp_path_factory.mktemp("trials")
    order = ["a", "b", "b", "a", "a", "b"]
    for run in (1, 2, 3):
        data = np.random.default_rng(run).normal(100, 1, (2, 2, 1, 50)).astype(np.float32)
        for place, kind in enumerate(order):
            first = 4 + 7 * place
            data[0, "ab".index(kind), 0, first + 1 : first + 4] += 12
        image = nibabel.Nifti1Image(data, np.eye(4) * 3)
        image.header.set_zooms((3, 3, 3, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / f"sub-01_task-x_run-{run}_bold.nii.gz")
        rows = "".join(f"{(4 + 7 * place) * 2}\t6\t{kind}\n" for place, kind in enumerate(order))
        (folder / f"sub-01_task-x_run-{run}_events.tsv").write_text("onset\tduration\ttrial_type\n" + rows)
    for run in (1, 2):
        for end in ("bold.nii.gz", "events.tsv"):
            name = f"sub-01_task-x_run-{run}_{end}"
            (folder / "learn").mkdir(exist_ok=True)
            (folder / "learn" / name).write_bytes((folder / name).read_bytes())
    manifest = open_dataset(folder / "learn", fmri={"atlas": "voxels"}, events=["a", "b"], tmin=2.0, tmax=6.0)
    trained = train(manifest, make_pipeline(Vectorizer(), LogisticRegression()), show_progress=False)
    return trained, folder / "sub-01_task-x_run-3_bold.nii.gz", order


def test_trials_are_scored_run_by_run_and_decoded_at_events(trials):
    trained, path, order = trials
    (score,) = trained.card["scores"]
    assert (score["folds"], score["n_folds"], score["mean"]) == ("run", 2, 1.0)
    assert trained.card["read"]["fmri"]["atlas"] == "voxels"
    decoded = trained.decode(path, events="training")
    assert decoded.table["event"].tolist() == order
    assert decoded.accuracy == 1.0
    np.testing.assert_allclose(decoded.table["onset"], [(4 + 7 * place) * 2 for place in range(6)])


def test_windows_of_the_trained_length(trials):
    trained, path, _ = trials
    decoded = trained.decode(path, windows=(6.0, 4.0))
    assert decoded.report["mode"] == "windows"
    np.testing.assert_allclose(decoded.table["onset"], np.arange(0, 48, 2) * 2.0)
    said = dict(zip(decoded.table["onset"], decoded.table["predicted"], strict=True))
    # windows begin at every second volume, the first, third and fifth of the events at one of these
    assert [said[2.0 * (4 + 7 * place)] for place in (0, 2, 4)] == ["a", "b", "a"]
    with pytest.raises(InputError, match="takes windows of 3 volumes"):
        trained.decode(path, windows=(20.0, 4.0))


def test_labels_of_decoded_runs_are_held_against_the_answers(model, tmp_path):
    truth = ["on", "off", "off", "on"]
    decoded = model.decode(write(tmp_path / "others.npz", truth, 5))
    assert decoded.table["event"].tolist() == truth
    assert decoded.accuracy == 1.0 and decoded.table["correct"].all()
    swapped = model.decode(write(tmp_path / "swapped.npz", truth, 5, names=["V1", "M1", "V2", "A1"]))
    assert swapped.table["event"].tolist() == truth
    page = write_decode_report(decoded, tmp_path / "report.html").read_text()
    for text in ("What the model said of each run", "Probability of on", "others.npz[0]", "whose labels name a class"):
        assert text in page
    assert "Over time" not in page and "The events are not named" not in page
    blind = dataclasses.replace(decoded, table=decoded.table.drop(columns=["event", "correct"]))
    page = write_decode_report(blind, tmp_path / "report.html").read_text()
    assert "labels are not known here" in page and "others.npz[0]" in page
