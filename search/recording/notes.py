"""What the run of a whole search says of it in MLflow, as Markdown: what it asks, what it cost, who leads, and a table
of its trainings with only those settings that are not the same for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.outcome import ENDS, Outcome
from search.planning.plan import duration

MOST_CHARACTERS = 5000  # of a tag's value that every store of MLflow's takes
OF_EVERY_ROW = ("network", "seed")
HIDDEN = ("dataset", "fingerprint", "convention", "tag_hash")
SHORT_COMMIT = 10


@dataclass(frozen=True)
class Child:
    """A training as the table shows it. settings: flat."""

    run_id: str
    settings: Mapping[str, Any]
    outcome: Outcome
    why: str = ""
    epochs: int = 0
    seconds: float = 0.0
    valid_roc_auc: float | None = None
    test_roc_auc: float | None = None


def child(
    run_id: str,
    settings: Mapping[str, Any],
    outcome: Outcome,
    why: str,
    rows: Sequence[Mapping[str, Any]],
    result: Any,
) -> Child:
    """From what a trial's folder holds: its epochs, and its result where there is one."""
    return Child(
        run_id=run_id,
        settings=settings,
        outcome=outcome,
        why=why,
        epochs=len(rows),
        seconds=sum(row["seconds"] for row in rows),
        valid_roc_auc=result["valid"]["roc_auc"] if result else None,
        test_roc_auc=result["test"]["roc_auc"] if result else None,
    )


def differing(children: Sequence[Child]) -> list[str]:
    """The settings that are not the same in all trainings; a setting that some lack is one of them."""
    keys = dict.fromkeys(key for each in children for key in each.settings)
    return [
        key
        for key in keys
        if key not in (*OF_EVERY_ROW, *HIDDEN)
        and len({repr(each.settings.get(key)) for each in children}) > 1
    ]


def table(children: Sequence[Child]) -> str:
    """All trainings, best first, as a Markdown table with a link to each run."""
    varied = differing(children)
    titles = [*OF_EVERY_ROW, *varied, "valid AUC", "test AUC", "epochs", "time", "state", "run"]
    lines = [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
    for each in sorted(children, key=_best_first):
        known = [_cell(each.settings.get(key, "")) for key in (*OF_EVERY_ROW, *varied)]
        scored = [_auc(each.valid_roc_auc), _auc(each.test_roc_auc), str(each.epochs), duration(each.seconds)]
        state = f"{each.outcome}: {each.why}" if each.why else each.outcome
        lines.append(f"| {' | '.join([*known, *scored, _cell(state), each.run_id])} |")
    return "\n".join(lines)


def _best_first(each: Child) -> tuple[float, str, str]:
    return (-(each.valid_roc_auc or 0.0), str(each.settings.get("network")), str(each.settings.get("seed")))


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())[:80]


def _auc(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def note(about: Mapping[str, Any], children: Sequence[Child]) -> str:
    """The note of the search's run, cut where MLflow would refuse it.

    about: "question", "command", "git_commit" and "git_dirty".
    """
    ended = [each for each in children if each.outcome in ENDS]
    count = ", ".join(
        f"{len(found)} {outcome}"
        for outcome in ENDS
        if (found := [each for each in ended if each.outcome == outcome])
    )
    lines = [
        f"**{about.get('question', '')}**",
        "",
        f"    {about.get('command', '')}",
        "",
        code(about),
        "",
        f"Cost so far: {len(ended)} trainings ended{f' ({count})' if count else ''}, "
        f"{duration(sum(each.seconds for each in children))} of training.",
        "",
        _leader(children),
        "",
    ]
    return _cut("\n".join(lines), table(children)) if children else "\n".join(lines)


def code(about: Mapping[str, Any]) -> str:
    """Which code ran."""
    commit = str(about.get("git_commit") or "")
    if not commit:
        return "The code is of no git checkout."
    dirty = (
        "; **changed since, so the commit alone does not give these numbers**" if about["git_dirty"] else ""
    )
    return f"Commit {commit[:SHORT_COMMIT]}{dirty}."


def _leader(children: Sequence[Child]) -> str:
    scored = [each for each in children if each.valid_roc_auc is not None]
    if not scored:
        return "No training has ended with a score yet."
    best = min(scored, key=_best_first)
    name = f"{best.settings.get('network')} seed {best.settings.get('seed')}"
    return f"Leader: {name}, valid AUC {_auc(best.valid_roc_auc)}, test AUC {_auc(best.test_roc_auc)}."


def _cut(head: str, rows: str) -> str:
    """As many whole rows as there is room for."""
    more = "\n\nThe whole table is among the artifacts, children.md."
    if len(head) + len(rows) + 1 <= MOST_CHARACTERS:
        return f"{head}\n{rows}"
    room = MOST_CHARACTERS - len(head) - len(more) - 1
    return f"{head}\n{rows[: rows.rfind(chr(10), 0, room)]}{more}"
