"""python -m search.run: the one command of a search. Typed again, it goes on where it stopped."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import plan, spaces
from search import words as command_line
from search.settings import SearchError, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from search.data import Data
    from search.deciding import Decider
    from search.leaderboard import Row
    from search.spaces import Space
    from search.tracking import Tracker

DONE, SOME_FAILED, WRONG_WORDS, INTERRUPTED = 0, 1, 2, 130
DELIVERY_SECONDS = 120.0  # how long the end of a search waits for MLflow


def main(words: Sequence[str]) -> int:
    """Run the words; returns the exit code."""
    from datasets import DatasetError
    from zoo import ZooError

    if any(word in ("-h", "--help", "help") for word in words):
        print(_help())
        return DONE
    try:
        return _search(list(words))
    except (SearchError, DatasetError, ZooError) as error:
        print(error, file=sys.stderr)
        return WRONG_WORDS
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; nothing that was finished is lost. To go on: {_command(words)}", file=sys.stderr
        )
        return INTERRUPTED


def _help() -> str:
    import datasets

    groups = {f"{group}s": command_line.group_names(group) for group in ("budget", "sampler", "pruner")}
    known = {"spaces": spaces.names(), "datasets": datasets.names(), **groups}
    return command_line.HELP.format(**{name: ", ".join(choices) for name, choices in known.items()})


def _command(words: Sequence[str]) -> str:
    return " ".join(["python -m search.run", *words])


def _search(words: list[str]) -> int:
    from rich.console import Console

    from search import data

    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=not sys.stdout.isatty())
    settings = command_line.read_words(words)
    found = data.find(settings)
    space = plan.cheap_first(settings, spaces.load(settings.space), found)
    name = _study_name(settings, found) if found.fingerprint else None
    console.print(plan.show(settings, space, found, name), highlight=False)
    if settings.plan:
        return DONE
    if found.fingerprint is None:
        from datasets.build import build

        build(found.name)
        found = data.find(settings)
    return _train(settings, space, found, words, console)


def _study_name(settings: Settings, found: "Data") -> str:
    from search.ledger import study_name

    assert found.fingerprint is not None
    return study_name(settings, found.name, found.fingerprint, found.convention)


def _train(settings: Settings, space: "Space", found: "Data", words: list[str], console: "Console") -> int:
    """Everything between the plan and the leaderboard."""
    from search import ledger
    from search.deciding import Decider

    name = _study_name(settings, found)
    with ledger.only_driver(name):
        study = ledger.open_study(settings, name)
        decider = Decider(
            study, space, settings, lambda point, seed: plan.resolve(settings, found, point, seed)
        )
        tracker = _tracker(settings, found, name, words)
        interrupted = True
        try:
            _run(settings, space, found, decider, tracker, console, name)
            interrupted = False
        finally:
            undelivered = _close(tracker, console, not interrupted)
        return _conclude(settings, space, found, decider, tracker, words, undelivered, console)


def _tracker(settings: Settings, found: "Data", study: str, words: list[str]) -> "Tracker":
    from search.environment import environment
    from search.tracking import Search, Tracker, flat, tracking_uri

    config = asdict(settings)
    about = {"dataset": found.name, "fingerprint": str(found.fingerprint), "space": Path(settings.space).stem}
    shown = {key: value for key, value in flat(config).items() if not key.startswith("cluster.")}
    search = Search(
        experiment=f"{found.name}-{about['space']}",
        study=study,
        params=shown,
        tags=about,
        config=config,
        environment={**environment(), **about, "command": _command(words)},
    )
    return Tracker(tracking_uri(settings.tracking), search)


def _run(
    settings: Settings,
    space: "Space",
    found: "Data",
    decider: "Decider",
    tracker: "Tracker",
    console: "Console",
    study: str,
) -> None:
    from search.board import Board
    from search.environment import environment
    from search.placing import cluster, run_trials

    for assignment in decider.ended():
        tracker.ended(assignment, "done", "")  # copies what an earlier driver could not deliver
    left = None
    if space.grid is not None:
        left = sum(work.total for work in plan.grid(settings, space, found) if not work.done)
    if decider.has_all():
        return
    commit = {key: value for key, value in environment().items() if key.startswith("git")}
    with cluster(settings.cluster) as room:
        board = Board(
            console,
            decider.expected(),
            len(decider.ended()),
            left,
            lambda assignment: plan.work(assignment.settings, found),
            lambda: tracker.trouble,
        )
        with board:
            run_trials(decider, room, [board, tracker], {"search": study, **commit})


def _close(tracker: "Tracker", console: "Console", complete: bool) -> int:
    """Let MLflow catch up; says so where that takes a while."""
    with console.status("bringing MLflow up to date"):
        undelivered = tracker.close(complete, DELIVERY_SECONDS if complete else 5.0)
    if undelivered:
        console.print(
            f"{undelivered} runs are not in MLflow yet ({tracker.trouble or 'it is slow'}); "
            f"the same command again delivers them",
            highlight=False,
        )
    return undelivered


def _conclude(
    settings: Settings,
    space: "Space",
    found: "Data",
    decider: "Decider",
    tracker: "Tracker",
    words: list[str],
    undelivered: int,
    console: "Console",
) -> int:
    """Leaderboard, winner, what to type next; the exit code."""
    from search import files, leaderboard

    ended = decider.ended()
    results = [files.read_result(assignment.signature) for assignment in ended]
    kept = [
        (result, assignment.settings) for result, assignment in zip(results, ended, strict=True) if result
    ]
    if kept:
        board = leaderboard.rows(
            [result for result, _ in kept], [each for _, each in kept], space.paper_table
        )
        _show(settings, kept[0][0], board, words, console, decider.study.study_name)
        _publish(settings, space, found, tracker, board[0], undelivered, console)
        _next_steps(settings, space, found, console)
    if decider.exhausted:
        console.print("the space holds no further setting that has not been tried", highlight=False)
    failures = decider.failures()
    for network, kind, why in failures:
        console.print(f"failed: {network}: {kind}: {why}", highlight=False)
    if failures:
        console.print(f"to try the failed ones again: {_command(words)}", highlight=False)
    return SOME_FAILED if failures else DONE


def _show(
    settings: Settings,
    result: dict[str, Any],
    board: "list[Row]",
    words: list[str],
    console: "Console",
    study: str,
) -> None:
    from search import files, leaderboard

    meaning = plan.meaning(settings.training, settings.budget)
    console.print(f"\n{leaderboard.describe(result['protocol'])}\nbudget {meaning}", highlight=False)
    console.print(
        "ranked by the validation clips; intervals by bootstrap over the test clips\n", highlight=False
    )
    console.print(leaderboard.as_table(board))
    text = leaderboard.as_markdown(board, result["protocol"], meaning, _command(words))
    path = files.home() / "leaderboards" / f"{study}.md"
    files.write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))
    console.print(f"\nwritten to {path}", highlight=False)


def _publish(
    settings: Settings,
    space: "Space",
    found: "Data",
    tracker: "Tracker",
    winner: "Row",
    undelivered: int,
    console: "Console",
) -> None:
    """Register the winner; a registry out of reach costs a line, never the search."""
    from search.publishing import publish

    run_id = tracker.run_id(winner.signature)
    if not settings.publish:
        return
    if run_id is None:
        console.print("the winner is not registered: its run is not in MLflow yet", highlight=False)
        return
    model = f"{found.name}-{space.name}"
    try:
        made = publish(tracker.uri, model, winner.signature, run_id)
    except Exception as error:  # whatever a server or a network can do
        console.print(
            f"the winner is not registered: {error}; the same command again tries it", highlight=False
        )
        return
    verb = "is" if made.champion else "is not"
    console.print(
        f"{winner.name} is version {made.version} of {model} and {verb} its champion: {made.why}",
        highlight=False,
    )


def _next_steps(settings: Settings, space: "Space", found: "Data", console: "Console") -> None:
    from search.tracking import tracking_uri

    uri = tracking_uri(settings.tracking)
    compare = (
        f"open {uri}"
        if uri.startswith("http")
        else f"mlflow server --host 127.0.0.1 --backend-store-uri {uri}"
    )
    console.print(
        f"\nnext:\n  {compare}\n  python -m dashboards export out=pictures\n"
        f"  python -m zoo tag song.mp3 model=models:/{found.name}-{space.name}@champion",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
