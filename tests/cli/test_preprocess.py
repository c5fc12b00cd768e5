"""``neurosig preprocess`` as a user meets it: what it writes, says and exits with."""

import json

import mne
import numpy as np
import pytest

from neurosig.cli.inspect import command as inspect
from neurosig.cli.preprocess import _from_files
from neurosig.cli.preprocess_answer import answer, told_once
from neurosig.core.errors import UsageError
from neurosig.core.log import logger
from neurosig.preprocessing.cleaning import CleaningOptions
from neurosig.preprocessing.cleaning_runs import Outcome, Source, preprocess

# mne's own reader of metadata
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
ELECTRODES = ["Fp1", "Fp2", "F3", "F4", "Fz", "C3", "C4", "Cz", "P3", "P4", "Pz", "O1", "O2"]


def make_trials(path, seed=0, bad=True):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((24, 4, 200)).cumsum(axis=-1)
    X = np.einsum("ck,nkt->nct", rng.standard_normal((len(ELECTRODES), 4)), shared)
    X = 10 * (X - X.mean(axis=-1, keepdims=True)) / X.std() + rng.standard_normal(X.shape)
    if bad:
        X[:, 6] += 80 * rng.standard_normal(X[:, 6].shape)
    np.savez(path, X=X, y=np.array([0, 1] * 12), ch_names=np.array(ELECTRODES), sfreq=100.0, tmin=-0.5,
             class_names=np.array(["left", "right"]), unit_uV=1.0)  # fmt: skip
    return path


@pytest.fixture
def trials(tmp_path):
    return make_trials(tmp_path / "sub-1_eeg.npz")


OPTIONS = ("--tmin", "-0.4", "--tmax", "1.2", "--montage", "standard_1005")


def test_a_first_and_a_second_call(cli, trials, tmp_path):
    done = cli("preprocess", trials, "--out", tmp_path / "out", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "1 recording: 1 cleaned" in done.stdout and "report:" in done.stdout
    assert "sub-1_ses-0_run-0 (sub-1_eeg.npz)" in done.stdout
    files = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        "cleaning.html", "cleaning.json", "cleaning.csv", "dataset_description.json",
        "sub-1_ses-0_run-0_desc-faster_epo.fif", "sub-1_ses-0_run-0_desc-faster_epo.json",
        "sub-1_ses-0_run-0_desc-faster_ave.fif", "sub-1_ses-0_run-0_desc-faster_report.html",
    }  # fmt: skip
    again = cli("preprocess", trials, "--out", tmp_path / "out", *OPTIONS, "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["recordings"][0]["state"] == "done earlier"
    assert answer["recordings"][0]["file"] == str(trials)
    assert answer["recordings"][0]["summary"]["channels_interpolated"] == ["C4"]
    epochs = mne.read_epochs(answer["recordings"][0]["files"]["epochs"], preload=False, verbose="error")
    assert len(epochs) == answer["recordings"][0]["summary"]["trials_kept"]


def test_one_failure_is_exit_1_and_the_others_are_done(cli, trials, tmp_path):
    broken = tmp_path / "sub-2_eeg.npz"
    broken.write_bytes(trials.read_bytes())
    with np.load(trials) as stored:
        fields = dict(stored)
    fields["X"] = np.full_like(fields["X"], np.nan)
    np.savez(broken, **fields)
    done = cli("preprocess", trials, broken, "--out", tmp_path / "out", *OPTIONS)
    assert done.returncode == 1
    assert "2 recordings: 1 cleaned, 1 failed" in done.stdout
    assert (
        "failed: sub-2_ses-0_run-0 (sub-2_eeg.npz): " in done.stderr
        and "NaN" in done.stderr
        and "Traceback" not in done.stderr
    )
    record = json.loads((tmp_path / "out" / "cleaning.json").read_text())
    assert [row["state"] for row in record["recordings"]] == ["cleaned", "failed"]
    assert "Failed" in (tmp_path / "out" / "cleaning.html").read_text()


def test_windows_of_a_simulated_dataset_are_refused_and_its_trials_cleaned(cli, tmp_path):
    call = ("preprocess", "--dataset", "simulated-imagery", "--subjects", "1", "--out", tmp_path / "out")
    wrong = cli(*call, "--window", "2")
    assert wrong.returncode == 2 and "a dataset's manifest says how its files are read" in wrong.stderr
    done = cli(*call, "--steps", "channels,epochs", "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in json.loads(done.stdout)["recordings"]] == ["cleaned"] * 4


def test_windows_of_a_recording_without_events(cli, tmp_path):
    info = mne.create_info(ELECTRODES, 128.0, "eeg", verbose="error")
    raw = mne.io.RawArray(1e-5 * np.random.default_rng(0).standard_normal((13, 128 * 40)), info, verbose="error")
    raw.save(tmp_path / "rest_raw.fif", verbose="error")
    bare = cli("preprocess", tmp_path / "rest_raw.fif", "--out", tmp_path / "out")
    assert bare.returncode == 1  # nothing was cleaned at all
    assert "1 recording: 0 cleaned, 1 left out (no events)" in bare.stdout
    assert "left out: sub-rest_ses-0_run-0 (rest_raw.fif): the recording has no events" in bare.stderr
    assert "recordings at rest are cut into windows" in bare.stderr and "--window 2 and another --out" in bare.stderr
    done = cli("preprocess", tmp_path / "rest_raw.fif", "--out", tmp_path / "out", "--window", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recordings"][0]["summary"]["trials"] == 19  # the last sample of the last is missing


def rest(path, seed):
    info = mne.create_info(ELECTRODES, 128.0, "eeg", verbose="error")
    data = 1e-5 * np.random.default_rng(seed).standard_normal((13, 128 * 30))
    mne.io.RawArray(data, info, verbose="error").save(path, verbose="error")
    return path


def test_one_patient_never_takes_the_place_of_another(cli, tmp_path):
    """Two calls, two persons: of different names both stay; of one name the second is refused."""
    a, b = rest(tmp_path / "patientA_raw.fif", 0), rest(tmp_path / "patientB_raw.fif", 1)
    (tmp_path / "ward").mkdir()
    other = rest(tmp_path / "ward" / "patientA_raw.fif", 2)
    call = ("--out", tmp_path / "out", "--window", "2", "--steps", "channels")
    for path in (a, b):
        assert cli("preprocess", path, *call).returncode == 0
    there = {path: path.read_bytes() for path in (tmp_path / "out").glob("sub-*/**/*") if path.is_file()}
    assert len(there) == 8
    refused = cli("preprocess", other, *call)
    assert refused.returncode == 1 and "is of another recording" in refused.stderr and "--overwrite" in refused.stderr
    assert "sub-patientA_ses-0_run-0 (patientA_raw.fif)" in refused.stderr
    assert {path: path.read_bytes() for path in there} == there
    both = cli("preprocess", a, other, *call)
    assert both.returncode == 2 and str(a) in both.stderr and str(other) in both.stderr
    told = cli("preprocess", a, *call, "--notch", "50")
    assert told.returncode == 2 and "(notch none there, 50 now)" in told.stderr and "--overwrite" in told.stderr
    assert {path: path.read_bytes() for path in there} == there
    anew = cli("preprocess", a, *call, "--notch", "50", "--overwrite")
    assert anew.returncode == 0 and "1 replaced an earlier cleaning in the folder" in anew.stderr
    assert "1 recording was in the folder made with other options, and not on this page" in anew.stderr


def test_calls_with_one_way_add_up_to_one_page_and_files_without_events_are_left_out(cli, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for subject in (1, 2, 3):
        path = rest(folder / f"sub-{subject}_raw.fif", subject)
        raw = mne.io.read_raw_fif(path, preload=True, verbose="error")
        if subject != 2:
            raw.set_annotations(mne.Annotations(np.arange(1.0, 28.0, 1.5), 0.0, ["left", "right"] * 9))
        raw.save(path, overwrite=True, verbose="error")
    call = ("--out", tmp_path / "out", "--events", "left=left,right=right", "--tmin", "0", "--tmax", "1",
            "--steps", "channels,epochs")  # fmt: skip
    assert cli("preprocess", folder / "sub-3_raw.fif", *call).returncode == 0
    done = cli("preprocess", folder / "sub-1_raw.fif", folder / "sub-2_raw.fif", *call)
    assert done.returncode == 0, done.stderr
    assert "2 recordings: 1 cleaned, 1 left out (no events)" in done.stdout
    assert "left out: sub-2_ses-0_run-0 (sub-2_raw.fif): the recording has none of the events" in done.stderr
    assert "--window" not in done.stderr  # events were asked for: this is no recording at rest
    assert "report: " in done.stdout and "cleaning.html (with 1 of earlier calls)" in done.stdout
    assert f"benchmark --dataset {tmp_path / 'out'}" in done.stderr
    record = json.loads((tmp_path / "out" / "cleaning.json").read_text())
    assert [(row["subject"], row["state"]) for row in record["recordings"]] == [
        ("1", "cleaned"), ("2", "left out"), ("3", "done earlier")]  # fmt: skip
    page = (tmp_path / "out" / "cleaning.html").read_text()
    assert "2 recordings of 2 subjects, cleaned" in page and "1 recording left out, without events" in page


def test_what_is_cleaned_can_be_decoded(cli, trials, tmp_path, capsys):
    """The two lines of the README: preprocess, then benchmark its folder."""
    assert cli("preprocess", trials, "--out", tmp_path / "clean", *OPTIONS, "--steps", "channels").returncode == 0
    done = cli("benchmark", "--dataset", tmp_path / "clean", "--pipelines", "Chance", "--out", tmp_path / "r", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ranking"][0]["dataset"] == "clean"
    (told,) = [line for line in answer["warnings"] if "cleaned before the folds were made" in line]
    assert "test trials included" in told and "trials that it rejected are not tested" in told
    assert "cleaned before the folds were made" in (tmp_path / "r" / "report.html").read_text()
    inspect(next((tmp_path / "clean").rglob("*_epo.fif")))
    seen = capsys.readouterr().out
    assert "24 from -0.4 to 1.2 s (161 samples); 1 subject, 1 recording" in seen
    assert "left × 12, right × 12 (event_id)" in seen and "reference: average" in seen


def test_trials_of_another_program_are_cleaned_in_their_own_window(tmp_path):
    rng = np.random.default_rng(0)
    events = np.column_stack([np.arange(24) * 300, np.zeros(24, int), np.tile([1, 2], 12)])
    info = mne.create_info(ELECTRODES, 128.0, "eeg", verbose="error")
    epochs = mne.EpochsArray(1e-5 * rng.standard_normal((24, 13, 65)), info, events, 0.1, {"a": 1, "b": 2},
                             verbose="error")  # fmt: skip
    epochs.save(tmp_path / "sub-7-epo.fif", verbose="error")
    sources, window = _from_files([tmp_path / "sub-7-epo.fif"], None, None, None, {})
    assert window == pytest.approx({"tmin": 13 / 128, "tmax": 77 / 128})
    (outcome,) = preprocess(sources, CleaningOptions(**window, steps=("channels",)), tmp_path / "out")
    assert outcome.source.label == "sub-7_ses-0_run-0" and outcome.record["summary"]["trials"] == 24
    cleaned = mne.read_epochs(outcome.files["epochs"], preload=False, verbose="error")
    assert len(cleaned.times) == 65 and cleaned.times[0] == pytest.approx(13 / 128)


def test_nan_is_left_out_where_the_message_says_so(tmp_path):
    path = tmp_path / "sub-1_raw.fif"
    data = 1e-5 * np.random.default_rng(0).standard_normal((3, 2000))
    data[1, 500:510] = np.nan
    mne.io.RawArray(data, mne.create_info(3, 100.0, "eeg"), verbose="error").save(path, verbose="error")
    options = CleaningOptions(steps=(), tmin=0.0, tmax=2.0)
    reading = {"montage": None, "unit": None, "sfreq": None}
    ways = [_from_files([path], None, None, 2.0, {**reading, "on_nan": on_nan})[0] for on_nan in (None, "annotate")]
    refused, done = (preprocess(found, options, tmp_path / str(i))[0] for i, found in enumerate(ways))
    assert refused.state == "failed" and "--on-nan annotate" in refused.error
    assert done.state == "cleaned" and done.record["summary"]["trials"] == 8


def test_channels_are_left_out_on_request_and_this_is_another_way_of_reading(tmp_path):
    path = rest(tmp_path / "sub-1_raw.fif", 0)
    reading = {"montage": None, "unit": None, "sfreq": None, "on_nan": None}
    options = CleaningOptions(steps=("channels",), tmin=0.0, tmax=2.0)
    sources, _ = _from_files([path], None, None, 2.0, {**reading, "drop": ["Fp1", "O2"]})
    (outcome,) = preprocess(sources, options, tmp_path / "out")
    assert outcome.record["channels"] == [name for name in ELECTRODES if name not in ("Fp1", "O2")]
    whole, _ = _from_files([path], None, None, 2.0, {**reading, "drop": None})
    with pytest.raises(UsageError, match="drop Fp1,O2 there, none now"):
        preprocess(whole, options, tmp_path / "out")


def test_messages_come_once_and_in_the_words_of_the_command_line(caplog):
    with caplog.at_level("WARNING", logger="neurosig"), told_once():
        for _ in range(3):
            logger.warning("%s: numbers taken as uV; state it with unit='uV', or what it is", "a.npz")
    assert [entry.getMessage() for entry in caplog.records] == [
        "a.npz: numbers taken as uV; state it with --unit uV, or what it is"]  # fmt: skip
    failed = Outcome(Source("1", "0", "0"), "failed", error="pass on_nan='annotate' or sfreq=128.0")
    told = answer([failed, Outcome(Source("2", "0", "0"), "skipped")], {})["recordings"]
    assert told[0]["error"] == "pass --on-nan annotate or --sfreq 128.0"
    assert [row["state"] for row in told] == ["failed", "done earlier"]


def test_results_do_not_go_among_the_recordings(cli, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    rest(folder / "sub-1_raw.fif", 0)
    done = cli("preprocess", folder, "--out", folder, "--window", "2")
    assert done.returncode == 2 and "lies in the output folder" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["sub-1_raw.fif"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give recordings or --dataset NAME, one of the two"),
        (("x.edf", "--dataset", "simulated-imagery"), "give recordings or --dataset NAME, one of the two"),
        (("TRIALS", "--data", "."), "--data says where a dataset's files are"),
        (("TRIALS", "--threshold", "high"), "--threshold is a number, or numbers by step"),
        (("TRIALS", "--baseline", "0"), "--baseline is two numbers of seconds"),
        (("TRIALS", "--window", "2", "--baseline", "5,6"), "baseline must lie within the trial, 0 to 2 s"),
        (("TRIALS", "--steps", "chanels"), "steps are channels, epochs, components, channels_in_epochs"),
        (("TRIALS", "--window", "2", "--events", "left"), "--window cuts the whole recording: drop --events"),
        (("TRIALS", "--subjects", "9"), "no recording of subject 9; there are 1"),
        (("TRIALS", "--on-nan", "ignore"), "on_nan must be 'raise' or 'annotate', got 'ignore'"),
        (("--dataset", "simulated-imagery", "--on-nan", "annotate"), "--on-nan and --drop"),
        (("--dataset", "simulated-imagry"), "did you mean simulated-imagery"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(cli, trials, tmp_path, arguments, message):
    arguments = [str(trials) if part == "TRIALS" else part for part in arguments]
    done = cli("preprocess", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_missing_folder_for_results(cli, trials, tmp_path):
    done = cli("preprocess", tmp_path / "none.edf", "--out", tmp_path / "out")
    assert done.returncode == 1 and "no such file" in done.stderr
    done = cli("preprocess", trials, "--out", trials / "out", *OPTIONS)
    assert done.returncode == 1 and "is a file, not a folder" in done.stderr
    done = cli("preprocess", trials)
    assert done.returncode == 2 and "--out" in done.stderr


def test_a_dataset_of_fmri_is_refused_in_one_line(cli, tmp_path):
    done = cli("preprocess", "--dataset", "simulated-fmri", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: simulated-fmri is fMRI, and recordings of EEG or MEG are expected here")
