"""What a search would train, what is done of it, and what the rest costs; answered without torch or Ray."""

from rich.console import Group, RenderableType
from rich.table import Table

import zoo
from search import throughput
from search.job import PLANNED_EPOCHS, Job, Work
from search.machine import local_cpus, local_device, local_gpus
from search.settings import AUTO, LOCAL, Cluster, Settings, Training, TrialSettings

# Forward multiply-adds a second that training gets through, where no trial has been timed yet: one AVX2 core
# (samplecnn_m3_n9_s3, batch 23) and, computed from its memory traffic, one H200.
ROUGH_CPU, ROUGH_GPU = 7e9, 9e12
OVERHEAD_SECONDS = 1.5  # of a trial: opening the data, scoring, writing its checkpoint


def rough_seconds(work: Work) -> float:
    """What one training takes on this kind of machine: by those that were timed here, else a first guess."""
    measured = throughput.rate(local_device(), zoo.entry(work.trial.network).family)
    rate = measured[0] if measured else ROUGH_GPU if local_gpus() else ROUGH_CPU
    return OVERHEAD_SECONDS + (work.training + throughput.EVALUATION_SHARE * work.evaluation) / rate


def rough_epoch_seconds(work: Work, on_gpu: bool) -> float:
    """What an epoch takes, by the first guess alone: for whoever asks where it will run, not what was timed here."""
    epochs = min(work.trial.training.longest_epochs, PLANNED_EPOCHS)
    operations = (work.training + throughput.EVALUATION_SHARE * work.evaluation) / epochs
    return OVERHEAD_SECONDS + operations / (ROUGH_GPU if on_gpu else ROUGH_CPU)


def _how_known(works: list[Work]) -> str:
    """What the estimate rests on."""
    families = {zoo.entry(work.trial.network).family for work in works}
    timed = [found[1] for family in families if (found := throughput.rate(local_device(), family))]
    if not timed:
        return "a first guess, known better as it runs"
    return f"by {min(timed)} or more trainings on this kind of machine"


def meaning(training: Training, name: str) -> str:
    """What the numbers of a budget can be taken for."""
    if training == Training():
        return f"{name}: the paper's schedule; the numbers compare with its tables where data and split are its own"
    if training.multiply_adds_per_epoch is not None:
        return (
            f"{name}: {training.longest_epochs} epochs of at most {training.multiply_adds_per_epoch / 1e9:g} G "
            f"multiply-adds each; shows that the way works, not which network is better"
        )
    return f"{name}: at most {training.longest_epochs} epochs; not the paper's schedule, so not its numbers"


def _at_once(wanted: Cluster) -> int:
    """How many trials this machine has room for."""
    fits = local_cpus() // wanted.cpus_per_trial
    if local_gpus():
        each = 1 if wanted.gpus_per_trial == AUTO else float(wanted.gpus_per_trial)
        fits = min(fits, int(local_gpus() / each)) if each else fits
    return max(fits if wanted.trials_at_once == AUTO else min(fits, int(wanted.trials_at_once)), 1)


def _hint(settings: Settings) -> str:
    """Why the budget is no larger, and which is."""
    if settings.training.multiply_adds_per_epoch is None or local_gpus():
        return ""
    return " (there is no GPU here; budget=paper is the paper's schedule)"


def show(job: Job) -> RenderableType:
    """The plan as text and, for a grid, a table."""
    settings, space, data = job.settings, job.space, job.data
    clips = ", ".join(f"{count} {split}" for split, count in data.clips.items())
    lines = [
        f"search   {job.study if data.fingerprint else job.model}: {space.question}",
        f"data     {data.name}{f' ({data.why})' if data.why else ''}, convention {data.convention}: {clips}, "
        f"{data.tags} tags" + ("" if data.fingerprint else "; will be rendered first"),
        f"budget   {meaning(settings.training, settings.budget)}{_hint(settings)}",
    ]
    if space.grid is None:
        lines.append(
            f"trials   {settings.trials} different settings, {settings.seeds} seed(s) each, "
            f"chosen by {settings.sampler.name}"
        )
        return "\n".join(lines)
    works = job.grid()
    at_once = _at_once(job.settings.cluster)
    left = [each for each in works if not each.done]
    seconds = [rough_seconds(each) for each in left]
    rough = max(sum(seconds) / at_once, max(seconds, default=0))
    where = "on this machine" if settings.cluster.address == LOCAL else "if the cluster were this machine"
    lines.append(
        f"trials   {len(works)}, of which {len(works) - len(left)} are done; the rest takes roughly "
        f"{duration(rough)} {where} ({at_once} at once; {_how_known(left)}"
        + (
            f", planned with {PLANNED_EPOCHS} epochs each)"
            if settings.training.longest_epochs > PLANNED_EPOCHS
            else ")"
        )
    )
    return Group("\n".join(lines), _table(works))


def _table(works: list[Work]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "network",
        "seed",
        "parameters",
        "multiply-adds (M)",
        "memory (GB)",
        "segments an epoch",
        "state",
    ):
        table.add_column(title, justify="left" if title in ("network", "state") else "right", no_wrap=True)
    for each in works:
        table.add_row(
            _label(each.trial),
            str(each.trial.seed),
            f"{each.parameters:,}",
            f"{each.multiply_adds / 1e6:,.1f}",
            f"{each.memory_bytes / 1e9:.1f}",
            f"{each.segments_per_epoch:,}",
            "done" if each.done else "to train",
        )
    return table


def _label(trial: TrialSettings) -> str:
    """The network, and what of its options differs from the one of that name."""
    changed = zoo.entry(trial.network).with_options(**dict(trial.options)).overrides
    return " ".join([trial.network, *(f"{name}={value}" for name, value in changed.items())])


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
