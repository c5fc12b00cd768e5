"""A torchaudio that does not fit its PyTorch is worked around in one place, and said once.

Stand-ins for torchaudio and braindecode, laid before the real ones on the path, give every state of an installation.
"""

import os
import subprocess
import sys
import textwrap

import pytest

from neurosig.core import compat

LOADER = """
import pathlib
def _load_lib(lib):
    if not list((pathlib.Path(__file__).parents[1] / "lib").glob(lib + "*.so")):
        return False
    {load}
    return True
"""


@pytest.fixture
def python(tmp_path):
    """Run code where torchaudio's compiled part does what `load` says."""

    def run(code, load="pass"):
        packages = tmp_path / "packages"
        for folder in ("torchaudio/_extension", "torchaudio/lib", "braindecode", "torchaudio-9.9.dist-info"):
            (packages / folder).mkdir(parents=True, exist_ok=True)
        (packages / "torchaudio-9.9.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: torchaudio\nVersion: 9.9\n"
        )
        (packages / "torchaudio" / "__init__.py").write_text("from . import _extension, transforms\n")
        (packages / "torchaudio" / "transforms.py").write_text("def resample(x): return x\n")
        (packages / "torchaudio" / "_extension" / "utils.py").write_text(LOADER.format(load=load))
        (packages / "torchaudio" / "_extension" / "__init__.py").write_text(
            "from .utils import _load_lib\nAVAILABLE = _load_lib('lib')\n"
        )
        (packages / "torchaudio" / "lib" / "lib.so").write_text("")
        (packages / "braindecode" / "__init__.py").write_text(
            "from torchaudio._extension import AVAILABLE\nfrom torchaudio.transforms import resample\n"
        )
        (packages / "braindecode" / "models.py").write_text("def double(x): return 2 * x\n")
        # what this process or another test was told is not known to these
        environment = {name: value for name, value in os.environ.items() if name != compat._TOLD}
        environment["NEUROSIG_CACHE"] = str(tmp_path / "cache")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**environment, "PYTHONPATH": os.pathsep.join([str(packages), *sys.path])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return run


BROKEN = "raise OSError('libcudart.so.13: cannot open shared object file')"


def test_a_healthy_installation_is_left_alone(python):
    done = python(
        """
        import warnings; warnings.simplefilter("error")
        from neurosig.core.compat import import_braindecode, torchaudio_status
        print(import_braindecode().AVAILABLE, torchaudio_status()["compiled"], torchaudio_status()["advice"])
        """
    )
    assert done.stdout.split() == ["True", "ok", "None"]
    assert done.stderr == ""


def test_a_broken_part_is_skipped_with_one_warning(python):
    done = python(
        """
        import warnings
        from neurosig.core.compat import CompatibilityWarning, import_braindecode, torchaudio_status
        print(torchaudio_status()["compiled"])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first, second = import_braindecode(), import_braindecode("braindecode.models")
        print(first.AVAILABLE, second.double(4), [w.category.__name__ for w in caught], caught[0].message)
        print(torchaudio_status())
        """,
        load=BROKEN,
    )
    before, imported, after = done.stdout.strip().split("\n")
    assert before == "broken"
    assert imported.startswith("False 8 ['CompatibilityWarning'] torchaudio's compiled part does not fit")
    assert "libcudart.so.13: cannot open shared object file" in imported
    assert "'compiled': 'skipped'" in after
    assert "'torchaudio': '9.9'" in after


def test_the_plain_import_would_fail_there(python):
    done = python(
        """
        try:
            import braindecode
        except OSError as error:
            print(error)
        # and even after that failure ours works
        import warnings; warnings.simplefilter("ignore")
        from neurosig.core.compat import import_braindecode
        print(import_braindecode().resample(3))
        """,
        load=BROKEN,
    )
    assert done.stdout.split("\n")[-2] == "3"


def test_worker_processes_are_prepared_in_silence(python):
    done = python(
        """
        import joblib, warnings
        from neurosig.core.compat import import_braindecode, prepare_worker
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_braindecode()
        from braindecode.models import double
        with joblib.parallel_config("loky", initializer=prepare_worker):
            print(joblib.Parallel(2)(joblib.delayed(double)(i) for i in range(3)))
        """,
        load=BROKEN,
    )
    assert done.stdout.strip() == "[0, 2, 4]"
    assert "CompatibilityWarning" not in done.stderr


def test_what_cannot_be_helped_is_one_line(python, tmp_path):
    code = """
        from neurosig.core import compat
        from neurosig.core.errors import NeurosigError
        try:
            compat.import_braindecode("braindecode.nothing")
        except NeurosigError as error:
            print(error)
    """
    assert python(code).stdout.startswith("braindecode cannot be imported: No module named")


@pytest.mark.slow
def test_the_installed_braindecode_works():
    code = """
        import warnings; warnings.simplefilter("ignore")
        from neurosig.core.compat import import_braindecode, torchaudio_status
        models = import_braindecode("braindecode.models")
        import torch
        print(tuple(models.ShallowFBCSPNet(4, 2, 256)(torch.zeros(3, 4, 256)).shape), torchaudio_status()["compiled"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 2) ")


def test_an_installation_is_told_about_once(python):
    code = """
        from neurosig.core.compat import import_braindecode
        import_braindecode()
        """
    told = "torchaudio's compiled part does not fit"
    assert told in python(code, load=BROKEN).stderr
    assert told not in python(code, load=BROKEN).stderr
