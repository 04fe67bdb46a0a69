"""When a space is another one: its searches then have another name, as no sampler can go on among other points."""

import inspect
import json
from pathlib import Path

import pytest

from search import spaces

FILE = '''"""Mine: is it better?"""

from typing import TYPE_CHECKING

from search.spaces import Point

if TYPE_CHECKING:
    import optuna

NETWORKS = ["samplecnn_m3_n4_s243"]


def highest():
    """Of the dropouts."""
    return 0.5


def sample(trial):
    network = trial.suggest_categorical("network", NETWORKS)
    return Point(network, options={"dropout": trial.suggest_float("dropout", 0.0, highest())})


def prior(network):
    return {"network": network, "dropout": 0.5}
'''


def identity(folder: Path, text: str) -> str:
    file = folder / "mine.py"
    file.write_text(text)
    return spaces.load(str(file)).identity


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('["samplecnn_m3_n4_s243"]', '["samplecnn_m3_n4_s243", "samplecnn_m4_n4_s64"]'),
        ("return 0.5", "return 0.6"),
        ('"dropout", 0.0', '"dropout", 0.1'),
    ],
)
def test_a_space_of_ones_own_is_another_one_with_whatever_its_sample_may_read(
    before: str, after: str, tmp_path: Path
) -> None:
    assert before in FILE
    assert identity(tmp_path, FILE.replace(before, after)) != identity(tmp_path, FILE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("is it better?", "it is better"),
        ('    """Of the dropouts."""\n', ""),
        ("NETWORKS =", "# the best\nNETWORKS ="),
        ('"dropout": 0.5', '"dropout": 0.4'),
        ("import TYPE_CHECKING\n", "import TYPE_CHECKING, Any\n"),
    ],
)
def test_a_space_stays_the_same_with_another_note_prior_or_comment(
    before: str, after: str, tmp_path: Path
) -> None:
    assert before in FILE
    assert identity(tmp_path, FILE.replace(before, after)) == identity(tmp_path, FILE)


def test_searches_keep_the_names_under_which_earlier_releases_began_them(tmp_path: Path) -> None:
    joint, smoke = spaces.load("joint"), spaces.load("smoke")
    assert joint.identity == inspect.getsource(joint.sample)
    assert smoke.identity == json.dumps(list(smoke.grid or ()), sort_keys=True)
    alone = FILE.replace('NETWORKS = ["samplecnn_m3_n4_s243"]\n', "").replace("NETWORKS", '["fcn4"]')
    alone = alone.replace('def highest():\n    """Of the dropouts."""\n    return 0.5\n', "")
    mine = identity(tmp_path, alone.replace("highest()", "0.5"))
    assert mine == inspect.getsource(spaces.load(str(tmp_path / "mine.py")).sample)
