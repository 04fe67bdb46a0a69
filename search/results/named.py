"""What a word of the command line names: a trial, a run of MLflow, a registered model, or a whole search.

The scores of its clips come from the trial's folder where it is on this machine, else from MLflow.
"""

import difflib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.errors import nearest
from search import files
from search.errors import SearchError, without_password
from search.scoring import score_table, scores
from search.scoring.score_table import ClipScores

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from search.results.leaderboard import Row
    from search.study.records import Search

FORMS = (
    "a trial's signature (16 hexadecimal digits, or the first 6 or more) or folder, an MLflow run (32), "
    "models:/NAME@ALIAS, models:/NAME/VERSION, the name of a search, or SEARCH/NETWORK"
)
RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})")


@dataclass(frozen=True, eq=False)
class Trained:
    """One training. recorded: the numbers that were written down when it ended, by their names in `scores.numbers`."""

    network: str
    seed: int
    signature: str
    scores: ClipScores
    recorded: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.network} seed {self.seed} (trial {self.signature})"


@dataclass(frozen=True, eq=False)
class Named:
    """title: in words. trainings: one, or one for each seed of a search's best network."""

    title: str
    trainings: Sequence[Trained]

    @property
    def scores(self) -> list[ClipScores]:
        return [each.scores for each in self.trainings]

    @property
    def network(self) -> str:
        return self.trainings[0].network


def find(word: str, storage: str | None = None, tracking: str | None = None) -> Named:
    """What the word names. storage, tracking: as in the words of search.run.

    raises: SearchError if nothing is called that, or its scores can't be had.
    """
    if is_run(word):
        mlflow = _client(tracking)
        return _of_run(mlflow, run_of(mlflow, word), storage)
    if folder := _folder(word):
        return _one(_of_folder(folder))
    return _of_search(word, storage)


def folder_of(word: str, storage: str | None = None) -> Path:
    """The folder of the trial that a word names, or of the best one of a search or of SEARCH/NETWORK.

    It may not be there. raises: SearchError if nothing is called that.
    """
    return _folder(word) or files.trial_folder(_row_of(word, storage)[0].signature)


def is_run(word: str) -> bool:
    """Whether it names a run of MLflow's, by itself or by a model that was made of it."""
    return RUN.fullmatch(word) is not None or word.startswith("models:/")


def run_of(mlflow: "MlflowClient", word: str) -> str:
    """The id of the run that such a word names. raises: SearchError if it names a model that is not there."""
    written = RUN.fullmatch(word)
    return written[1] if written else _run_of_model(mlflow, word)


def split(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that name something, and the `key=value` ones: a row of a search may have a = behind its /."""
    named = [word for word in typed if "=" not in word or "/" in word.partition("=")[0]]
    return named, [word for word in typed if word not in named]


def _folder(word: str) -> Path | None:
    """The folder of a trial that is named by itself, by its signature or by the first digits; None for other words."""
    if (Path(word) / files.RESULT).is_file():
        return Path(word)
    if re.fullmatch(r"[0-9a-f]{16}", word):
        files.read_result(word)  # which brings it from another machine, it may be
        return files.trial_folder(word)
    if re.fullmatch(r"[0-9a-f]{6,15}", word) and (signature := _begun(word)):
        return files.trial_folder(signature)
    return None


def _begun(digits: str) -> str | None:
    """The one signature of a trial here that begins so. raises: SearchError if there are several."""
    found = [each for each in _signatures() if each.startswith(digits)]
    if len(found) > 1:
        raise SearchError(f"{digits} begins {len(found)} signatures: {', '.join(found)}; give more digits")
    return found[0] if found else None


def _signatures() -> list[str]:
    """Of the trials here."""
    return sorted(folder.parent.name for folder in (files.home() / "trials").glob(f"*/{files.RESULT}"))


def _one(trained: Trained) -> Named:
    return Named(str(trained), [trained])


def _of_folder(folder: Path) -> Trained:
    result, settings = (files.read_json(folder / name) for name in (files.RESULT, files.SETTINGS))
    if result is None or settings is None:
        known = _signatures()
        near = (
            f"; did you mean {' or '.join(close)}?"
            if (close := difflib.get_close_matches(folder.name, known))
            else ""
        )
        raise SearchError(f"there is no trial that has ended in {folder}{near}")
    said = score_table.read(folder / files.SCORES)
    return Trained(settings["network"], settings["seed"], result["signature"], said, scores.numbers(result))


def _of_search(word: str, storage: str | None) -> Named:
    row, which = _row_of(word, storage)
    trainings = [_of_folder(files.trial_folder(signature)) for signature in row.signatures]
    seeds = "1 seed" if len(trainings) == 1 else f"{len(trainings)} seeds"
    return Named(f"{which}: {row.name}, {seeds}", trainings)


def _row_of(word: str, storage: str | None) -> "tuple[Row, str]":
    """A network of a search, with all of its seeds; its best one by the validation clips where none is named."""
    from search.results import leaderboard
    from search.study.records import Records

    search, slash, network = word.partition("/")
    studies = {recorded.name: recorded for recorded in Records(storage).searches()}
    if search not in studies:
        known = [*studies, *_with_this_network(search, studies.values())]
        near = f"; {nearest(search, known)}" if studies else "; there is no search here yet"
        raise SearchError(f"nothing is called '{search}'{near} (give {FORMS})")
    ended = leaderboard.ended(studies[search].trained)
    if not ended:
        raise SearchError(f"no trial of {search} has ended yet")
    board = leaderboard.rows(ended, studies[search].about.paper_table)
    if slash:
        return _row(search, network, board), f"of {search}"
    return board[0], f"the best of {len(board)} networks of {search}"


def _with_this_network(network: str, studies: "Iterable[Search]") -> list[str]:
    """SEARCH/NETWORK for each search that has trained a network of that name."""
    return [f"{each.name}/{network}" for each in studies if network in {one.network for one in each.trained}]


def _row(search: str, network: str, board: "Sequence[Row]") -> "Row":
    """The row of that name, or the only one of that network."""
    named = [row for row in board if row.name == network] or [row for row in board if row.network == network]
    if len(named) == 1:
        return named[0]
    if not named:
        raise SearchError(
            f"{search} has no network '{network}'; {nearest(network, [row.name for row in board])}"
        )
    some = ", ".join(f"'{search}/{row.name}'" for row in named)
    raise SearchError(
        f"{search} has {len(named)} trainings of {network}: give one of {some}, or its signature"
    )


def _client(tracking: str | None) -> "MlflowClient":
    from search.recording.store import reader, tracking_uri

    return reader(tracking_uri(tracking))


def _run_of_model(mlflow: "MlflowClient", word: str) -> str:
    form = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))", word)
    if form is None:
        raise SearchError(f"'{word}' is none of {FORMS}")
    name, alias, number = form.groups()
    try:
        version = (
            mlflow.get_model_version_by_alias(name, alias)
            if alias
            else mlflow.get_model_version(name, number)
        )
    except Exception as error:  # whatever a server can do
        raise _away(mlflow, word, error) from error
    if not version.run_id:
        raise SearchError(f"{word} is of no run, so there are no scores of its clips")
    return str(version.run_id)


def _of_run(mlflow: "MlflowClient", run_id: str, storage: str | None) -> Named:
    from search.recording.marks import REPLACED, SIGNATURE, STUDY

    try:
        run = mlflow.get_run(run_id)
    except Exception as error:  # whatever a server can do
        raise _away(mlflow, run_id, error) from error
    if study := run.data.tags.get(STUDY):
        return _of_search(study, storage)
    if replaced := run.data.tags.get(REPLACED):  # its folder holds a later training
        return _one(_downloaded(mlflow, run, replaced))
    signature = run.data.tags.get(SIGNATURE)
    if signature is None:
        raise SearchError(f"run {run_id} is not one of a search's")
    if files.read_result(signature) is not None:
        return _one(_of_folder(files.trial_folder(signature)))
    return _one(_downloaded(mlflow, run, signature))


def _downloaded(mlflow: "MlflowClient", run: Any, signature: str) -> Trained:
    run_id = run.info.run_id
    with tempfile.TemporaryDirectory(prefix="wavezoo-") as folder:
        try:
            path = mlflow.download_artifacts(run_id, files.SCORES, folder)
        except Exception as error:  # whatever a server can do
            raise SearchError(
                f"run {run_id} has no {files.SCORES}: its training has not ended, or it was recorded by another release"
            ) from error
        said = score_table.read(Path(path))
    told = run.data
    return Trained(told.params["network"], int(told.params["seed"]), signature, said, dict(told.metrics))


def _away(mlflow: "MlflowClient", word: str, error: Exception) -> SearchError:
    from search.recording.store import in_a_line

    where = without_password(str(mlflow.tracking_uri))
    return SearchError(f"{word} can't be had from MLflow at {where}: {in_a_line(error)}")
