"""Our recordings in MOABB: the same trials as ours, codes that no cache can confuse, and its own benchmark."""

import pickle
import re

import lives
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.manifest import read_manifest

moabb = pytest.importorskip("moabb")
pytestmark = [
    # moabb and what it imports warn about their own use of numpy, pandas, mne and scikit-learn
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LAB = """\
name: my-lab2
title: Two hands
paradigm: imagery
source:
  files:
    - {path: s1.npz, subject: 1}
    - {path: s2.npz, subject: 2}
events: [left_hand, right_hand]
processing: {tmin: 0.0, tmax: 0.9}
"""


def write_trials(path, seed):
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], 12)
    X = rng.standard_normal((24, 3, 100)) * 10
    X[y == 1, 0] *= 2
    np.savez(
        path,
        X=X,
        y=y,
        run=np.repeat([0, 1], 12),
        ch_names=np.array(["C3", "Cz", "C4"]),
        sfreq=100.0,
        tmin=0.0,
        class_names=np.array(["left_hand", "right_hand"]),
        unit_uV=1.0,
    )


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "data").mkdir()
    for subject in (1, 2):
        write_trials(tmp_path / "data" / f"s{subject}.npz", subject)
    (tmp_path / "lab.yml").write_text(LAB)
    return lambda **changes: read_manifest(tmp_path / "lab.yml", data=tmp_path / "data").replace(**changes)


def paradigm(**options):
    from moabb.paradigms import LeftRightImagery

    return LeftRightImagery(**{"fmin": 8, "fmax": 32, **options})


@pytest.fixture
def clean_registry():
    """MOABB's list of datasets as it was before the test."""
    import moabb.datasets
    import moabb.datasets.utils

    before = dict(vars(moabb.datasets))
    yield
    for name in set(vars(moabb.datasets)) - set(before):
        delattr(moabb.datasets, name)
    moabb.datasets.utils._init_dataset()


def test_facts(lab, caplog):
    dataset = lab().as_moabb()
    assert re.fullmatch(r"MyLab2-[0-9a-f]{8}", dataset.code)
    assert "abbreviation" not in caplog.text
    assert dataset.subject_list == [1, 2]
    assert dataset.event_id == {"left_hand": 1, "right_hand": 2}
    assert (dataset.interval, dataset.paradigm, dataset.n_sessions) == ([0.0, 0.9], "imagery", 1)
    assert [path.name for path in dataset.data_path(2)] == ["s2.npz"]
    assert lab(subjects=["2"]).as_moabb().subject_list == [2]


@pytest.mark.parametrize(
    ("name", "subjects"),
    [("eegmmidb", ["2"]), ("eegmmidb-trials", ["7"]), ("eegmat", ["3"]), ("muse-p300", ["2"]), ("muse-ssvep", None)],
)
def test_moabb_cuts_the_same_trials_as_we_do(data_dir, name, subjects):
    from moabb.paradigms import P300, SSVEP, MotorImagery

    manifest = read_manifest(name, data=data_dir).replace(subjects=subjects)
    kinds = {"imagery": MotorImagery, "p300": P300, "ssvep": SSVEP}
    cut = manifest.processing
    more = {} if manifest.paradigm == "p300" else {"n_classes": 2, "events": manifest.event_names}
    X, y, table = kinds[manifest.paradigm](fmin=cut.fmin, fmax=cut.fmax, **more).get_data(manifest.as_moabb())
    ours = manifest.load()
    np.testing.assert_array_equal(X, ours.X * 1e6)
    np.testing.assert_array_equal(y, ours.y)
    assert table["run"].tolist() == ours.metadata["run"].tolist()
    assert table["session"].tolist() == ours.metadata["session"].tolist()


def test_simulated_recordings_in_moabb():
    manifest = read_manifest("simulated-imagery").replace(subjects=["3"])
    X, y, table = paradigm().get_data(manifest.as_moabb())
    ours = manifest.load()
    np.testing.assert_array_equal(X, ours.X * 1e6)
    np.testing.assert_array_equal(y, ours.y)
    assert sorted(set(table["session"])) == ["0", "1"]


def test_code_changes_with_every_option_content_and_seed(lab, tmp_path):
    first = lab().as_moabb().code
    assert lab().as_moabb().code == first
    codes = [
        lab(**changes).as_moabb().code
        for changes in (
            {"tmax": 0.5},
            {"tmin": 0.1},
            {"fmin": 4},
            {"resample": 50},
            {"subjects": ["1"]},
            {"picks": ("C3", "C4")},
        )
    ]
    write_trials(tmp_path / "data" / "s2.npz", 7)
    codes.append(lab().as_moabb().code)
    assert len({first, *codes}) == 8
    text = read_manifest("simulated-imagery")
    fields = {name: getattr(text, name) for name in type(text).model_fields}
    simulated = text.source.simulated
    other = type(text).model_validate(
        {**fields, "source": {"simulated": {**simulated.model_dump(), "random_state": 1}}}
    )
    assert other.as_moabb().code != text.as_moabb().code


def test_moabbs_cache_never_returns_stale_data(lab, tmp_path):
    cache = {"path": str(tmp_path / "cache"), "use": True, "save_raw": True, "save_epochs": True, "save_array": True}
    (tmp_path / "cache").mkdir()
    first = paradigm().get_data(lab(subjects=["1"]).as_moabb(), cache_config=cache)[0]
    again = paradigm().get_data(lab(subjects=["1"]).as_moabb(), cache_config=cache)[0]
    np.testing.assert_allclose(again, first)
    write_trials(tmp_path / "data" / "s1.npz", 99)
    fresh = lab(subjects=["1"]).load(fmin=8, fmax=32).X * 1e6
    cached = paradigm().get_data(lab(subjects=["1"]).as_moabb(), cache_config=cache)[0]
    np.testing.assert_array_equal(cached, fresh)
    assert not np.allclose(cached, first)


def test_pickle_into_another_process(lab, tmp_path):
    dataset = lab().as_moabb()
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(dataset))
    code = "import pickle, sys; d = pickle.load(open(sys.argv[1], 'rb')); print(d.code, len(d.get_data([2])[2]['0']))"
    done = lives.python(code, tmp_path / "d.pkl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [dataset.code, "2"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1"], ["0", "1"]),
        (["4", "8", "12"], ["4", "8", "12"]),
        (["01", "02"], ["01", "02"]),
        (["rest", "task"], ["0rest", "1task"]),
        (["1", "01"], ["0", "1"]),
        (["a-1", "a-2"], ["0a1", "1a2"]),
        (["0train", "1test"], ["0train", "1test"]),
    ],
)
def test_names_obey_moabbs_rule(names, expected):
    from moabb.datasets.base import check_run_names, check_session_names

    from neurosig.loaders.moabb_dataset import moabb_names

    found = moabb_names(names)
    assert list(found.values()) == expected
    check_session_names({1: {name: {} for name in found.values()}})
    check_run_names({1: {"0": dict.fromkeys(found.values())}})


def test_subject_names_without_numbers(lab, tmp_path):
    (tmp_path / "lab.yml").write_text(
        LAB.replace("subject: 1", "subject: ann_b").replace("subject: 2", "subject: carl")
    )
    dataset = lab().as_moabb()
    assert dataset.subject_list == ["annb", "carl"]
    assert set(dataset.get_data(["carl"])) == {"carl"}


def test_intracranial_channels_are_kept(lab, tmp_path):
    text = LAB.replace("paradigm: imagery", "modality: seeg\nparadigm: imagery")
    types = "read: {ch_types: {C3: seeg, Cz: seeg, C4: ecog}}\nprocessing"
    (tmp_path / "lab.yml").write_text(text.replace("processing", types))
    X, *_ = paradigm().get_data(lab().as_moabb(), subjects=[1])
    assert X.shape[1] == 3
    assert 1 < X.std() < 100  # microvolts


def test_missing_files_and_events(lab, tmp_path):
    (tmp_path / "data" / "s1.npz").unlink()
    (tmp_path / "data" / "s2.npz").unlink()
    with pytest.raises(InputError, match="no file of my-lab2 is in"):
        lab().as_moabb()
    with pytest.raises(UsageError, match="installed moabb has no dataset 'Nope'"):
        fields = {
            "name": "n",
            "title": "n",
            "paradigm": "imagery",
            "processing": {"tmin": 0, "tmax": 1},
            "source": {"moabb": "Nope"},
        }
        type(lab()).model_validate(fields).as_moabb()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_moabb_benchmark_runs_over_registered_datasets(lab, tmp_path, clean_registry, monkeypatch):
    """MOABB's own benchmark sees a registered dataset; another version of it replaces the first."""
    from neurosig.loaders.moabb_dataset import register

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "cov.yml").write_text(
        "name: cov + LR\nparadigms: [LeftRightImagery]\npipeline:\n"
        "  - {name: Covariances, from: pyriemann.estimation, parameters: {estimator: oas}}\n"
        "  - {name: TangentSpace, from: pyriemann.tangentspace}\n"
        "  - {name: LogisticRegression, from: sklearn.linear_model}\n"
    )
    codes = []
    for changes in ({}, {"tmax": 0.5}):
        codes += register(lab(**changes))
        table = moabb.benchmark(
            pipelines=str(folder),
            evaluations=["WithinSession"],
            include_datasets=codes[-1:],
            results=str(tmp_path / "results"),
            output=str(tmp_path / "out"),
            n_jobs=1,
            plot=False,
        )
        assert set(table["dataset"]) == {codes[-1]}
        assert len(table) == 2
        assert table["score"].between(0, 1).all()
    assert codes[0] != codes[1]
    assert not hasattr(moabb.datasets, codes[0].replace("-", "_"))
    assert hasattr(moabb.datasets, codes[1].replace("-", "_"))
