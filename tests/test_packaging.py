"""The wheel is enough: pipelines and manifests travel inside, and nothing of the checkout is needed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


pytestmark = pytest.mark.xdist_group("packaging")  # one worker prepares what they share


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what the wheel holds, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # no isolation: the build needs hatchling only, which the development tools bring, and no network
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, TOP],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(installed, *args):
    # -P keeps the working folder off the path, so that the checkout cannot stand in for the wheel
    return subprocess.run(
        [sys.executable, "-P", *args], cwd=installed.parent, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip


@pytest.mark.slow
def test_wheel_holds_what_a_user_needs(installed):
    for name in ("pipelines", "data_manifests"):
        shipped = {path.name for path in (installed / "neurosig/_resources" / name).rglob("*.yml")}
        assert shipped == {path.name for path in (TOP / name).rglob("*.yml")}
    assert (installed / "neurosig/py.typed").exists()
    assert not list(installed.rglob("*.lock"))
    assert not (installed / "tests").exists()


@pytest.mark.slow
def test_wheel_runs_from_another_folder(installed):
    where = run(installed, "-c", "import neurosig; print(neurosig.__file__)").stdout
    assert Path(where.strip()).is_relative_to(installed)
    listed = run(installed, "-m", "neurosig", "datasets", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "simulated-imagery" in listed.stdout
    code = "import neurosig; print(*sorted(neurosig.load_pipelines(groups=['riemann'])))"
    assert "TS+LR" in run(installed, "-c", code).stdout
