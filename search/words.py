"""The command line: `key=value` words in Hydra's grammar, composed from search/conf/, into Settings.

Nothing heavy is imported here, so that a wrong word is answered at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.errors import nearest
from datasets.words import command
from search.checks import AUTO, LOCAL, check_address, is_number
from search.errors import ConfigError
from search.machine import has_bf16, local_gpus
from search.settings import FLOAT32, TF32, WINOGRAD, Choice, Cluster, Limits, Settings, Stopping, Training

CONF = Path(__file__).parent / "conf"
FREE = ("sampler.arguments.", "pruner.arguments.")

HELP = """\
Search for the best network to tag music with.

  python -m search.run [key=value ...]

  python -m search.run                          Table 2 of the paper on MTAT, or on the demo music without it
  python -m search.run space=table3 seeds=3     three trainings of each network of Table 3
  python -m search.run space=joint trials=50    let Optuna choose the network and its training
  python -m search.run plan=true                what would be trained, and what it costs; trains nothing

The same command again goes on where it stopped: nothing that is finished is trained twice.

words:
  space=NAME|FILE       {spaces}, or a file of your own
  networks=PATTERN,...  of a space with a list of networks only those of these names, such as "melcnn*"
  dataset=NAME          auto (mtat if built, else demo), {datasets}
  convention=NAME       which clips count (mtat: paper, tagged, all)
  budget=NAME           auto (paper with a GPU, else small), {budgets}: how long to train
  seed=N seeds=N        the first seed, and how many trainings of each network
  trials=N              how many settings a sampled space tries
  sampler=NAME          {samplers}
  sampler.name=CLASS sampler.arguments.KEY=VALUE   any sampler of Optuna's, as QMCSampler
  pruner=NAME           {pruners}
  pruner.rungs=epoch|stage|seed         what a pruner compares: epochs, ended stages, or replicates
  objectives=[A:max,B:min]              of {objectives}: a Pareto front
  prior=table2|STUDY    what the sampler knows before it starts: the paper's AUCs, or an earlier search of the space
  study=NAME storage=URL tracking=URL   the ledger, where it lies, and where MLflow listens
  publish=true|false    register the winner as <dataset>-<space>
  plan=true             print the plan only
  cluster.gpus=N cluster.device=H200    the cluster that a plan is made for, where it is not this machine
  budget.gpu_hours=N budget.wall_hours=N   refuse a plan that takes clearly more; stop, to be gone on with, when reached
  cluster.address=local|auto|HOST:PORT  cluster.cpus_per_trial=auto|N  cluster.gpus_per_trial=auto|X
  cluster.storage=s3://BUCKET/PREFIX|PATH   where trials lie if the machines share no disk
  cluster.trials_at_once=auto|N         budget.batch_size=N  budget.epochs_per_stage=N  ...
  cluster.together=auto|N               trials that one process trains step by step together: of one network (other
                                        seeds, rates, dropouts), or else of several that hear segments of one
                                        length (auto: small networks on GPUs, 8 at most)
  budget.precision=float32|winograd|tf32|bf16   of products; tf32 and bf16 are for GPUs and several times as fast,
                                        winograd for processors (up to 1.4 times by MKL, 1.1 by oneDNN)
  cluster.epoch_minutes=auto|N          after this an epoch is taken to hang (auto: ten times the longest before it)

choices:
{choices}

Data, ledgers, checkpoints and MLflow's store lie under WAVEZOO_HOME (default ./wavezoo-data). WAVEZOO_STORAGE and
MLFLOW_TRACKING_URI stand for storage= and tracking= where those are not typed, as for an address with a password.
exit codes: 0 done, 1 some trials failed, 2 refused or stopped (a line says why), 130 interrupted or out of hours
"""


def group_names(group: str) -> list[str]:
    """The choices of a config group: its files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choices(group: str) -> list[str]:
    """Lines for a person: each choice of a config group with the first sentence of what its file says of it."""
    return [
        f"  {group + '=' + name:<28} {_sentence(CONF / group / f'{name}.yaml')}"
        for name in group_names(group)
    ]


def _sentence(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
    return said.partition(". ")[0].partition(" (")[0].rstrip(".")


def check_typed(typed: Sequence[str]) -> None:
    """raises: ConfigError for a word that a person has given twice, of which the last would win unseen."""
    keys = [word.partition("=")[0] for word in typed]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ConfigError("; ".join(f"{key}= is given twice; once is enough" for key in twice))


def read_words(words: Sequence[str]) -> Settings:
    """The settings that the words ask for; ConfigError names every word that can't be taken."""
    default, words = _compose([]), [_unquoted(word) for word in words]
    if problems := list(_problems(words, default)):
        raise ConfigError("; ".join(problems))
    settings = _settings(_compose([_as_hydra(word, words) for word in _completed(words)]), default)
    _check_precision(settings)
    return settings


def _check_precision(settings: Settings) -> None:
    """raises: ConfigError if this machine, where that trains, can't compute so; another cluster tells when it does."""
    cluster, word = settings.cluster, settings.training.precision
    here = cluster.address == LOCAL
    gpus = (local_gpus() if here else 0) if cluster.gpus is None else cluster.gpus
    if word == WINOGRAD and gpus and cluster.gpus_per_trial != 0:
        raise ConfigError(f"budget.precision={word} is for processors; on a GPU take tf32 or bf16")
    if word in (FLOAT32, WINOGRAD) or gpus or not here:
        return
    if word == TF32 or not has_bf16():
        raise ConfigError(
            f"budget.precision={word}: there is no GPU here, and the processor has no instructions for it; take "
            f"budget.precision=float32"
        )


def _compose(words: list[str]) -> dict[str, Any]:
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_container(compose("config", overrides=words), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"can't read the words: {' '.join(str(error).split())}") from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _problems(words: list[str], config: Mapping[str, Any]) -> Iterator[str]:
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            yield f"'{word}' is not key=value ({command('search.run', ['--help'])} lists the words)"
        elif not _known_key(key, config):
            yield f"no word is called '{key}'; {nearest(key, _keys(config), most=1)}"
        elif key in ("budget", "sampler", "pruner") and value not in _choices(key):
            near = nearest(value, _choices(key), most=1, key=f"{key}=")
            yield f"no {key} is called '{value}'; {near} (a new one is a file in search/conf/{key}/)"


def _choices(group: str) -> list[str]:
    return [AUTO, *group_names(group)] if group == "budget" else group_names(group)


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _known_key(key: str, config: Mapping[str, Any]) -> bool:
    """A known word; the arguments of a sampler or pruner are its own, so they are free."""
    return key in set(_keys(config)) or key.startswith(FREE)


def _completed(words: Sequence[str]) -> list[str]:
    return _with_own_classes(_with_budget(list(words)))


def _with_budget(words: list[str]) -> list[str]:
    return words if any(word.startswith("budget=") for word in words) else [*words, f"budget={AUTO}"]


def _with_own_classes(words: list[str]) -> list[str]:
    """A class that is named outright takes no arguments over from the one that stands in search/conf/."""
    bare = {"sampler": "random", "pruner": "none"}
    named = {group for group in bare if any(word.startswith(f"{group}.name=") for word in words)}
    chosen = {group for group in bare if any(word.startswith(f"{group}=") for word in words)}
    return [*(f"{group}={bare[group]}" for group in sorted(named - chosen)), *words]


def _unquoted(word: str) -> str:
    """The word without quotes around its value that no shell took off, as in Slurm's lists of arguments.

    Those around a text or an argument are left to Hydra, to which they tell that '5' is a text and not a number.
    """
    key, _, value = word.partition("=")
    is_hydras = key.startswith(FREE) or key == "cluster.address" or (_is_text(key) and key != "networks")
    return word if is_hydras or not QUOTED.fullmatch(value) else f"{key}={value[1:-1]}"


def _is_text(key: str) -> bool:
    return key == "space" or (key.rpartition(".")[2] in WORDS_OR_NULL and not key.startswith(FREE))


def _as_hydra(word: str, words: Sequence[str]) -> str:
    """The word as Hydra wants it: `auto` resolved, and arguments that the config does not list allowed."""
    if word == f"budget={AUTO}":  # the paper's schedule where there is a GPU to follow it
        return f"budget={'paper' if _gpus(words) else 'small'}"
    key, _, value = word.partition("=")
    # Commas, stars and brackets mean something else to Hydra than in patterns, addresses and paths
    is_ours = key == "dataset" or (key == "networks" and value != "null")  # a data set may be called 2024
    if is_ours or (_is_text(key) and not HYDRAS.fullmatch(value)):
        quoted = value.replace("'", r"\'")
        return f"{key}='{quoted}'"
    return f"++{word}" if word.startswith(FREE) else word


def _gpus(words: Sequence[str]) -> float:
    """GPUs of the cluster that the words name: asking another machine takes as long as reaching it."""
    said = dict(word.split("=", 1) for word in words if "=" in word)
    address, planned = said.get("cluster.address", LOCAL), said.get("plan", "").lower() == "true"
    if (planned or address != LOCAL) and said.get("cluster.gpus", "").isdecimal():
        return int(said["cluster.gpus"])
    if planned or address == LOCAL:  # a plan asks nobody, and says what it takes the cluster for
        return local_gpus()
    check_address(address)  # before Ray is imported for it
    from search.running.cluster import cluster_gpus

    return cluster_gpus(address)


WORDS_OR_NULL = ("networks", "convention", "study", "storage", "tracking", "prior", "device")
# A name, a number or several; or what is written for Hydra, as a list, in quotes or with escapes
HYDRAS = re.compile(r"[\w.,+-]*|[\[{'\"].*|.*\\.*", re.ASCII)
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _wrong_kinds(config: Mapping[str, Any], default: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Values of another kind than the one that stands in search/conf/; `auto` and null take any kind."""
    for key, wanted in default.items():
        value = config.get(key)
        if f"{prefix}{key}." in FREE:
            continue
        if isinstance(wanted, Mapping):
            yield from _wrong_kinds(value if isinstance(value, Mapping) else {}, wanted, f"{prefix}{key}.")
        elif key in WORDS_OR_NULL:
            if value is not None and not isinstance(value, str):
                yield f"{prefix}{key}={value}: give a word"
        elif type(wanted) in KINDS and wanted != AUTO and not _same_kind(value, wanted):
            yield f"{prefix}{key}={value}: give {KINDS[type(wanted)]}"


def _same_kind(value: Any, wanted: Any) -> bool:
    return is_number(value) if isinstance(wanted, float) else type(value) is type(wanted)


def _settings(config: dict[str, Any], default: Mapping[str, Any]) -> Settings:
    if problems := list(_wrong_kinds(config, default)):
        raise ConfigError("; ".join(problems))
    budget = dict(config.pop("budget"))
    name = budget.pop("name")
    hours = {key: budget.pop(key) for key in ("gpu_hours", "wall_hours")}
    parts = {
        "training": lambda: Training(**budget),
        "sampler": lambda: Choice(**config.pop("sampler")),
        "pruner": lambda: Stopping(**config.pop("pruner")),
        "cluster": lambda: Cluster(**config.pop("cluster")),
        "limits": lambda: Limits(**hours),
    }
    made: dict[str, Any] = {}
    for part, make in parts.items():
        try:
            made[part] = make()
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    return Settings(budget=name, **config, **made)
