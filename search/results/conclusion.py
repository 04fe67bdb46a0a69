"""The end of a search: its leaderboard, its winner in the registry, what failed, and what to type next."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets.words import begun_with, command
from search import files
from search.errors import without_password
from search.planning import plan
from search.planning.job import Job
from search.recording.publishing import Published, publish
from search.recording.store import tracking_uri
from search.recording.tracking import Tracker
from search.results import leaderboard
from search.scoring.protocol import describe
from search.study import objectives
from search.study.assignment import Assignment
from search.study.deciding import Decider
from search.study.sampling import RANDOM_DRAWS

if TYPE_CHECKING:
    from rich.console import Console

NAMED = 3  # trials in a line


def show(job: Job, decider: Decider, console: "Console") -> list[leaderboard.Row]:
    """What was found, which waits for nobody. Returns the rows of the leaderboard, best first."""
    kept = leaderboard.ended(each.settings for each in decider.ended())
    if not kept:
        return []
    board = leaderboard.rows(kept, job.space.paper_table)
    _show(job, kept[0][0]["protocol"], board, console)
    if len(job.settings.objectives) > 1:
        found = objectives.front(job, [settings for _, settings in kept])
        console.print(objectives.as_table(job, found))
    return board


def conclude(
    job: Job, decider: Decider, board: list[leaderboard.Row], tracker: Tracker, console: "Console"
) -> int:
    """Publish the best of the leaderboard, once MLflow has been told of it, and tell what failed and what is next.

    returns: how many trainings failed.
    """
    if board:
        published = _publish(job, board[0], tracker, console) if job.settings.publish else None
        _next_steps(job, board, published, console)
    if decider.exhausted:
        console.print(f"no setting that has not been tried was found in {RANDOM_DRAWS} random draws")
    for why, count in decider.rejected.most_common():
        console.print(f"{count} {'proposal is' if count == 1 else 'proposals are'} no network: {why}")
    failures = decider.failures()
    for each in failures:
        console.print(f"failed: {each.assignment.settings.network}: {each.kind}: {each.why}")
    if failures and job.space.grid is not None:
        console.print(f"to try the failed ones again: {job.command}")
    return len(failures)


def lacking(trials: Sequence[Assignment]) -> list[str]:
    """What MLflow could not be told, and why."""
    if not trials:
        return []
    some = [
        f"{each.settings.network} seed {each.settings.seed} ({each.signature})" for each in trials[:NAMED]
    ]
    more = f" and {len(trials) - NAMED} more" if len(trials) > NAMED else ""
    return [
        f"not told to MLflow: {', '.join(some)}{more}: the ledger calls them done, and their folders are not in "
        f"{files.home() / 'trials'}; the same command tells it where they are (WAVEZOO_HOME, cluster.storage)"
    ]


def _show(job: Job, protocol: dict[str, Any], board: list[leaderboard.Row], console: "Console") -> None:
    budget = plan.meaning(job.settings.training, job.settings.budget)
    console.print(f"\n{describe(protocol)}\nbudget {budget}\n")
    console.print(leaderboard.as_table(board))
    console.print("\n".join(["", *leaderboard.HOW_TO_READ]))
    text = leaderboard.as_markdown(board, protocol, budget, job.command)
    path = files.home() / "leaderboards" / f"{job.study}.md"
    files.write_text(path, text)
    console.print(f"\nwritten to {path}", soft_wrap=True)


def _publish(job: Job, winner: leaderboard.Row, tracker: Tracker, console: "Console") -> Published | None:
    """Register the winner; a registry out of reach costs a line, never the search. None where it did not go well."""
    run_id = tracker.run_id(winner.signature)
    if run_id is None:
        console.print("the winner is not registered: its run is not in MLflow yet")
        return None
    try:
        made = publish(tracker.uri, job.model, run_id)
    except Exception as error:  # what the gate refuses, and whatever a server or a network can do
        why = without_password(str(error))
        console.print(f"the winner is not registered: {why}; the same command again tries it")
        return None
    verb = "is" if made.champion else "is not"
    console.print(
        f"{winner.name} is version {made.version} of {job.model} and {verb} its champion: {made.why}"
    )
    return made


def _next_steps(
    job: Job, board: list[leaderboard.Row], published: Published | None, console: "Console"
) -> None:
    """The commands to type next, as they work in this shell and with these addresses."""
    uri = without_password(tracking_uri(job.settings.tracking))
    shown = ["mlflow", "server", "--host", "127.0.0.1", "--backend-store-uri", uri]
    lines = [f"open {uri}" if uri.startswith("http") else begun_with() + shlex.join(shown)]
    if len(board) > 1:
        lines.append(command("search.compare", [row.signature for row in board[:2]]))
    storage = job.settings.storage
    lines.append(command("dashboards", [f"storage={without_password(storage)}"] if storage else []))
    folder = files.trial_folder(board[0].signature) / files.CHECKPOINT
    tag = command("zoo", ["tag", "song.mp3", f"model={published.uri if published else folder}"])
    elsewhere = published and job.settings.tracking
    lines.append(f"MLFLOW_TRACKING_URI={shlex.quote(uri)} {tag}" if elsewhere else tag)
    console.print("\n  ".join(["\nnext:", *lines]), soft_wrap=True)
