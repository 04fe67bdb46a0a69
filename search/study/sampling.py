"""What a sampler is given: points that no one has tried, when it repeats itself, and what was known before it began."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import FixedTrial, TrialState

import zoo
from datasets.errors import nearest
from search.errors import ConfigError
from search.planning.job import Job
from search.spaces import Space
from search.study import objectives
from search.study.ledger import settings_of
from search.study.records import out_of_reach, storage_url

RANDOM_DRAWS = 500  # how often a new point is looked for at random, before all are gone through
MOST_WALKED = 20_000  # how many points are gone through: a space that shows none among them is exhausted
PLACES = 33  # at which a continuous parameter is tried by then
UNTRAINABLE = (ConfigError, zoo.ZooError)  # what a point is refused with that is no network
TABLE = re.compile(r"table\d+")


def others(space: Space, fixed: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Parameters of points in no order that a sampler would have: random ones, then all there are.

    fixed: parameters that every one of them has.
    """
    draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(RANDOM_DRAWS):
        if fixed:
            draws.enqueue_trial(dict(fixed))
        drawn = draws.ask()
        with suppress(*UNTRAINABLE):
            space.at(drawn)
            yield drawn.params
    yield from every_point(space, fixed)


def every_point(space: Space, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of every point, continuous ones at some places of their range; of the first MOST_WALKED.

    Points that the space itself refuses count among those: a space that refuses nearly all would be walked for days.
    """
    turns: list[tuple[int, int]] = []
    for _ in range(MOST_WALKED):
        walk = Walk(turns, fixed)
        with suppress(*UNTRAINABLE):
            space.at(walk)  # type: ignore[arg-type]
            yield walk.params
        turns = walk.turns
        while turns and turns[-1][0] + 1 == turns[-1][1]:
            turns.pop()
        if not turns:
            return
        turns[-1] = (turns[-1][0] + 1, turns[-1][1])


class Walk:
    """Stands for a trial and answers like the hand of a clock: see `every_point`.

    turns: (which choice, of how many) for each question so far; questions beyond them get their first choice.
    """

    def __init__(self, turns: Sequence[tuple[int, int]], fixed: Mapping[str, Any]) -> None:
        self.turns, self.fixed = list(turns), fixed
        self.params: dict[str, Any] = {}
        self._at = 0

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._pick(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._pick(name, range(low, high + 1, step))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return self._pick(name, [low + at * step for at in range(round((high - low) / step) + 1)])
        shares = [at / (PLACES - 1) for at in range(PLACES)]
        places = [low * (high / low) ** share if log else low + (high - low) * share for share in shares]
        return self._pick(name, [min(max(place, low), high) for place in places])

    def _pick(self, name: str, choices: Sequence[Any]) -> Any:
        if name in self.fixed or name in self.params:  # a name that is asked for twice is one parameter
            self.params.setdefault(name, self.fixed.get(name))
            return self.params[name]
        if self._at == len(self.turns):
            self.turns.append((0, len(choices)))
        self.params[name] = choices[self.turns[self._at][0]]
        self._at += 1
        return self.params[name]


def add_prior(study: optuna.Study, job: Job) -> None:
    """Enter what `prior=` names as finished trials, once. They inform the sampler and are nothing else.

    They have no settings, by which everyone else knows a trial: none is counted, ranked or published.
    raises: ConfigError if the space has no use for it.
    """
    prior = job.settings.prior
    if prior is None:
        return
    if job.space.grid is not None:
        raise ConfigError(f"prior={prior}: space={job.space.name} trains all of its grid; leave prior out")
    known = [
        trial.params for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("prior") == prior
    ]
    # All of them are judged before the first is entered, and an interrupted command may have entered some
    for trial in [*(_published(job, prior) if TABLE.fullmatch(prior) else _of_study(study, job, prior))]:
        if trial.params not in known:
            study.add_trial(trial)


def _published(job: Job, table: str) -> Iterator[optuna.trial.FrozenTrial]:
    """The rows of a table of the paper that the space can reach."""
    if job.space.prior is None:
        raise ConfigError(
            f"prior={table}: space {job.space.name} does not say where its networks lie; give it a function "
            f"prior(network) as search/spaces/joint.py has"
        )
    for network in zoo.names(table=table):
        aucs = [row.auc for row in zoo.entry(network).paper if (row.table, row.dataset) == (table, "mtat")]
        params = job.space.prior(network)
        if aucs and params is not None:
            trained = job.resolve(job.space.at(FixedTrial(dict(params))), job.settings.seed)
            values = objectives.values(job, trained, {"valid": {"roc_auc": aucs[0]}})
            yield _finished(job, params, values, table)


def _of_study(study: optuna.Study, job: Job, name: str) -> Iterator[optuna.trial.FrozenTrial]:
    """What an earlier study of the same space has trained to the end."""
    url = storage_url(job.settings.storage)
    if name == study.study_name:
        raise ConfigError(f"prior={name} is this very search; give an earlier one")
    try:
        known = optuna.get_all_study_names(url)
        earlier = optuna.load_study(study_name=name, storage=url) if name in known else None
    except Exception as error:  # drivers of databases raise what they like
        raise out_of_reach("open", url, error) from error
    if earlier is None:
        raise ConfigError(
            f"prior={name}: the ledger has no such study; {nearest(name, [*known, 'table2'], key='prior=')}"
        )
    if earlier.directions != study.directions:
        raise ConfigError(
            f"prior={name} was a search for other objectives than {','.join(job.settings.objectives)}"
        )
    for trial, _ in settings_of(earlier, (TrialState.COMPLETE,)):
        yield _finished(job, trial.params, trial.values, name)


def _finished(
    job: Job, params: Mapping[str, Any], values: Sequence[float], prior: str
) -> optuna.trial.FrozenTrial:
    """A trial that ended elsewhere. raises: ConfigError if its parameters are not those of the space."""
    asked = FixedTrial(dict(params))
    try:
        job.space.at(asked)
    except ConfigError as error:
        raise ConfigError(
            f"prior={prior} was a search of another space than {job.space.name}: {error}"
        ) from error
    return optuna.trial.create_trial(
        params=asked.params,
        distributions=asked.distributions,
        values=list(values),
        user_attrs={"prior": prior},
    )
