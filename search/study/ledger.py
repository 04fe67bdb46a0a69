"""The ledger of a search: its Optuna study, in its own storage.

The study remembers what was asked for, what runs, what each epoch scored and how each trial ended.
"""

import copy
import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from datasets.home import home, made_home
from datasets.sqlite import address_of, file_of
from datasets.whole import written_whole
from search import files
from search.errors import ConfigError
from search.outcome import failure_of
from search.planning.job import Job
from search.settings import Settings, TrialSettings
from search.study.chosen import make
from search.study.mirror import Mirror
from search.study.recall import bounded
from search.study.records import ELSEWHERE, GPUS, UNWANTED, About, out_of_reach, storage_url

BEGUN = "begun"  # the attribute of a study that says where its first command kept its trials


def open_study(job: Job, check: Callable[[], None] = lambda: None) -> optuna.Study:
    """The study of the job's name, made where there is none, with what a reader must know of it.

    check: asked before each write whether no one else writes to it; see Mirror.
    raises: ConfigError if the sampler can't be made, SearchError if the storage can't be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made_home()
    settings, url = job.settings, storage_url(job.settings.storage)
    directions = _directions(settings)
    try:
        _make(url)
        # A connection that was cut while nothing was written is opened anew
        database = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        optuna.create_study(
            storage=database, study_name=job.study, directions=directions, load_if_exists=True
        )
        study = optuna.load_study(study_name=job.study, storage=Mirror(database, job.study, check))
        known = len(study.get_trials(deepcopy=False))
    except Exception as error:  # drivers of databases raise what they like
        raise out_of_reach("open", url, error) from error
    if study.user_attrs.get("identity", job.identity) != job.identity:
        raise ConfigError(
            f"study={job.study} holds a search with another space, budget, data, seed or objectives; "
            f"give this one another name"
        )
    # Started again from the same seed, a sampler would draw the points again that it drew first.
    study.sampler = bounded(sampler_of(settings, known), study)
    # A sampler that has run out of points stops the study, which Optuna allows its own loop only; the decider goes on.
    study.stop = lambda: None  # type: ignore[method-assign]
    if not known:
        study.set_user_attr(BEGUN, _here())
    study.set_user_attr("identity", job.identity)
    study.set_user_attr("about", asdict(About.of(job)))
    return study


def _make(url: str) -> None:
    """Make the tables of a SQLite file that is not there, whole: Optuna makes one after the other.

    Of two that do so at once the first one's stay.
    """
    file = file_of(url)
    if file is None or not file.is_absolute() or file.exists() or not file.parent.is_dir():
        return
    with written_whole(file, first=True) as part:
        optuna.storages.RDBStorage(address_of(part)).engine.dispose()


def _directions(settings: Settings) -> list[StudyDirection]:
    ways = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
    return [ways[each.direction] for each in settings.looked_for]


def sampler_of(settings: Settings, known: int = 0) -> optuna.samplers.BaseSampler:
    """The sampler that the words ask for, as it goes on after so many known trials.

    raises: ConfigError if it can't be made, or has taken an argument that it can't work with.
    """
    choice = settings.sampler
    made: optuna.samplers.BaseSampler = make(choice, optuna.samplers, seed=settings.seed + known)
    tried = optuna.create_study(sampler=copy.deepcopy(made), directions=_directions(settings))
    try:
        tried.ask().suggest_float("any", 0.0, 1.0)
    except TypeError as error:
        raise ConfigError(f"{choice.name} can't work with {dict(choice.arguments)}: {error}") from error
    except ValueError:  # it knows other parameters than this one, as a grid does
        pass
    return made


def _here() -> dict[str, str]:
    """Where a command of this environment keeps its trials."""
    return {
        "host": os.uname().nodename,
        "home": str(home().resolve()),
        "storage": os.environ.get(files.TRIALS, ""),
    }


def left_elsewhere(study: optuna.Study, wanted: Iterable[TrialSettings]) -> str:
    """A line for a person where the ledger calls trainings done whose folders are not here; "" for none.

    A ledger on a server knows trials of other homes. wanted: of those that it calls done, the ones of this command.
    Nothing is said where folders are missing from the very place in which the search began: someone took them away.
    """
    if os.environ.get(files.TRIALS):
        return ""  # they are brought from the storage
    lacking = [each for each in wanted if not (files.trial_folder(each.signature()) / files.RESULT).is_file()]
    begun = study.user_attrs.get(BEGUN)
    if not lacking or begun == _here():
        return ""
    where = "where that was is not noted" if begun is None else f"the search was begun with {_said(begun)}"
    have = "training has" if len(lacking) == 1 else "trainings have"
    return (
        f"{len(lacking)} {have} ended by the ledger and no folder in {home() / 'trials'}; {where}; this command goes "
        f"on and trains anew what it needs of them"
    )


def _said(place: Mapping[str, str]) -> str:
    """A place in the words that lead to it."""
    if place["storage"]:
        return f"cluster.storage={shlex.quote(place['storage'])}"
    return f"WAVEZOO_HOME={shlex.quote(place['home'])} on {place['host']}"


def enter(trial: optuna.Trial, settings: TrialSettings) -> None:
    """Say what a trial is; from here on it is in the ledger, with all that is known of it."""
    trial.set_user_attr("signature", settings.signature())
    trial.set_user_attr("settings", json.dumps(settings.to_json()))
    if isinstance(trial.storage, Mirror):
        trial.storage.enter(trial._trial_id)


def settings_of(
    study: optuna.Study, states: tuple[TrialState, ...] = (TrialState.COMPLETE,)
) -> list[tuple[FrozenTrial, TrialSettings]]:
    """The trials in these states with their settings; proposals that were never to be trained have none."""
    return [
        (trial, TrialSettings.from_json(json.loads(trial.user_attrs["settings"])))
        for trial in study.get_trials(deepcopy=False, states=states)
        if "settings" in trial.user_attrs
    ]


def spent_seconds(study: optuna.Study) -> float:
    """Seconds of GPUs that the trials of a study have taken, or of their processors where they had none.

    Each epoch counts once, whichever commands trained it; what another search had trained does not count.
    """
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
    spent = {
        settings.signature(): trial.user_attrs.get(GPUS, 1.0)
        for trial, settings in settings_of(study, states)
        if ELSEWHERE not in trial.user_attrs
    }
    return sum(
        gpus * sum(row["seconds"] for row in files.read_epochs(signature))
        for signature, gpus in spent.items()
    )


def given_up(study: optuna.Study) -> list[str]:
    """Signatures of the trials that were left running, and that no command has asked for since one gave them up."""
    trials = [each for each in study.get_trials(deepcopy=False) if "signature" in each.user_attrs]
    latest = {each.user_attrs["signature"]: each for each in trials}
    return [
        signature
        for signature, trial in latest.items()
        if failure_of(trial.state.name, trial.user_attrs)[0] == UNWANTED
    ]
