"""Page "Search": how far a search is, how its trainings learn, what decides whether they are good, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards import curves, front, importances, parallel, progress
from dashboards.blocks import Block, Cell, Choice, Facts, Heading, Link, Page, Table, Text
from dashboards.columns import columns, names
from dashboards.measured import told_apart, unknown
from dashboards.reading import Reading, Trial
from datasets.words import command
from search.failures import KINDS
from search.outcome import Outcome
from search.planning.plan import duration
from search.scoring import scores
from search.scoring.protocol import describe, protocol_id
from search.scoring.resamples import ARTIST, CLIP
from search.settings import TrialSettings, digest
from search.study.records import Search

NAME, TITLE = "search", "Search"
ALL = "all"
MOST_ROWS = 100
RUNNING_COLUMNS = (
    "running",
    "epoch",
    "stage",
    "train loss",
    "valid loss",
    "valid ROC-AUC",
    "trained for",
    "MLflow",
)
COLUMNS = (
    *("training", "state", "valid ROC-AUC", "test ROC-AUC (95 %)", "epochs"),
    *("trained for", "curves", "MLflow"),
)


@dataclass(frozen=True)
class Shown:
    """A search on the page. trials: those that can be named. kept: the choices that links keep."""

    reading: Reading
    search: Search
    trials: Sequence[Trial]
    names: Mapping[str, str]
    kept: Mapping[str, str]

    @property
    def done(self) -> list[Trial]:
        """Best first by the validation clips."""
        ended = [each for each in self.trials if each.result is not None]
        return sorted(ended, key=lambda each: -(each.result or {})["valid"]["roc_auc"])

    @property
    def running(self) -> list[Trial]:
        return [each for each in self.trials if self.reading.is_running(each.record)]

    @property
    def protocol(self) -> str:
        """In a sentence; before a training has ended, as much as is known."""
        for each in self.trials:
            if each.result is not None:
                return f"Protocol: {describe(each.result['protocol'])}."
        return f"Data: {_data(self.trials[0].record.settings)}." if self.trials else ""

    def name(self, trial: Trial) -> str:
        return self.names[trial.record.signature]

    def run(self, trial: Trial) -> Cell:
        link = self.reading.run(self.search.name, trial.record.signature)
        return Cell("run" if link else "", link=link)


def page(reading: Reading, choices: Mapping[str, str]) -> Page:
    """The page. choices: protocol, of which data; study, a search's name; trial, whose curves; rows, "all" of them."""
    searches = reading.searches()
    protocols = told_apart(
        {_key(each.settings): _data(each.settings) for search in searches for each in search.records}
    )
    protocol = choices.get("protocol", "") if choices.get("protocol") in protocols else ""
    fitting = [
        each for each in searches if not protocol or protocol in {_key(one.settings) for one in each.records}
    ]
    if not fitting:
        return Page(
            NAME,
            TITLE,
            [Text("There is no search yet. This starts one:"), Text(command("search.run"), code=True)],
        )
    search = next((each for each in fitting if each.name == choices.get("study")), fitting[0])
    shown, trouble = _shown(reading, search, protocol)
    menus = _menus(protocols, protocol, fitting, search)
    body = [*_head(shown), *_running(shown), *_curves(shown, choices), *_parameters(shown)]
    which, unfinished = importances.blocks(reading, search.name, shown.done, shown.protocol)
    body += [*which, *_front(shown), *_failures(shown), *_table(shown, choices)]
    return Page(NAME, TITLE, [*menus, *body, *trouble], unfinished or reading.is_live(search))


def _key(settings: TrialSettings) -> str:
    return digest([settings.dataset, settings.fingerprint, settings.convention, settings.tag_hash])


def _data(settings: TrialSettings) -> str:
    return f"{settings.dataset} {settings.fingerprint[:6]}, convention {settings.convention}"


def _shown(reading: Reading, search: Search, protocol: str) -> tuple[Shown, list[Text]]:
    """The search, and a line for each training that can't be shown whole."""
    trials = [
        reading.trial(each) for each in search.records if not protocol or _key(each.settings) == protocol
    ]
    lines = [*([reading.away] if reading.away else []), *search.trouble]
    trouble = [Text(line, alarming=True) for line in lines]
    trouble += [_line(each, why) for each in trials if (why := each.trouble or unknown(each.record.settings))]
    named = [each for each in trials if not unknown(each.record.settings)]
    told = names({each.record.signature: each.record.settings for each in named})
    kept = {"study": search.name, **({"protocol": protocol} if protocol else {})}
    return Shown(reading, search, named, told, kept), trouble


def _menus(
    protocols: Mapping[str, str], protocol: str, fitting: Sequence[Search], search: Search
) -> list[Block]:
    blocks: list[Block] = []
    if len(protocols) > 1:
        options = [(ALL, Link(NAME))]
        options += [(label, Link(NAME, {"protocol": key})) for key, label in protocols.items()]
        blocks.append(Choice("Protocol", options, protocols.get(protocol, ALL)))
    if len(fitting) > 1:
        kept = {"protocol": protocol} if protocol else {}
        studies = [(each.name, Link(NAME, {**kept, "study": each.name})) for each in fitting]
        blocks.append(Choice("Search", studies, search.name))
    return blocks


def _head(shown: Shown) -> list[Block]:
    about = shown.search.about
    rows: list[tuple[str, Cell | str]] = [*progress.facts(shown.reading, shown.search, shown.trials)]
    rows += [("budget", about.budget), ("protocol", shown.protocol.partition(": ")[2])]
    if shown.done:
        key = protocol_id((shown.done[0].result or {})["protocol"])
        rows.append(("ranked", Cell("on the leaderboard", link=Link("leaderboard", {"protocol": key}))))
    return [Heading(shown.search.name), Text(about.question), Text(about.command, code=True), Facts(rows)]


def _running(shown: Shown) -> list[Block]:
    rows: list[list[Cell | str]] = []
    for each in shown.running:
        last = each.epochs[-1] if each.epochs else None
        told = ["0", "1", "", "", ""]
        if last is not None:
            told = [str(last["epoch"]), str(last["stage"] + 1)]
            told += [f"{last[key]:.4f}" for key in ("train_loss", "valid_loss", "valid_roc_auc")]
        rows.append([shown.name(each), *told, duration(each.seconds), shown.run(each)])
    return [Table(RUNNING_COLUMNS, rows, f"What runs now. {shown.protocol}")] if rows else []


def _curves(shown: Shown, choices: Mapping[str, str]) -> list[Block]:
    """Of what runs and of the best; of one training where the address says so."""
    able = {
        each.record.signature: each for each in [*shown.running, *shown.done, *shown.trials] if each.count
    }
    if not able:
        return []
    one = able.get(choices.get("trial", ""))
    picked = [shown.reading.whole(each) for each in ([one] if one else list(able.values())[: curves.MOST])]
    more = f" {len(picked)} of {len(able)} trainings." if len(picked) < len(able) else ""
    figure = curves.figure(picked, shown.names, f"{shown.protocol}{more}")
    alarms = [
        _line(each, each.trouble)
        for each in picked
        if each.trouble and not able[each.record.signature].trouble
    ]
    return [Heading("Learning curves"), *_menu_of_curves(shown, list(able.values()), one), figure, *alarms]


def _line(trial: Trial, why: str) -> Text:
    return Text(f"trial {trial.record.number}: {why}", alarming=True)


def _menu_of_curves(shown: Shown, able: Sequence[Trial], one: Trial | None) -> list[Block]:
    some = list(able[:MOST_ROWS])
    if one is not None and one not in some:
        some.append(one)
    several = f"running and best {min(len(able), curves.MOST)}"
    options = [(several, Link(NAME, shown.kept))]
    options += [
        (shown.name(each), Link(NAME, {**shown.kept, "trial": each.record.signature})) for each in some
    ]
    return [Choice("Curves of", options, shown.name(one) if one else several)] if len(able) > 1 else []


def _parameters(shown: Shown) -> list[Block]:
    done = shown.done
    varied = columns([each.record.settings for each in done])
    blocks: list[Block] = [Heading("Settings")]
    if len(done) < 2 or not varied:
        blocks.append(Text("Settings are compared when two trainings with different ones have ended."))
    else:
        aucs = [(each.result or {})["valid"]["roc_auc"] for each in done]
        blocks.append(parallel.figure(varied, aucs, shown.protocol))
    return blocks


def _front(shown: Shown) -> list[Block]:
    found, unknown_costs = front.spots(shown.done, shown.names)
    blocks: list[Block] = [Heading("AUC against cost")] if shown.done else []
    if found:
        blocks.append(front.figure(found, shown.protocol))
    if unknown_costs:
        blocks.append(Text(f"The cost of {unknown_costs} networks is not known without building them."))
    return blocks


def _failures(shown: Shown) -> list[Block]:
    failed = [each for each in shown.trials if each.record.outcome is Outcome.FAILED]
    if not failed:
        return []
    counted = Counter(each.record.kind or "error" for each in failed)
    kinds = [
        [
            kind,
            str(count),
            KINDS[kind].meaning if kind in KINDS else "",
            KINDS[kind].action if kind in KINDS else "",
        ]
        for kind, count in counted.most_common()
    ]
    most_first = sorted(failed, key=lambda each: (-counted[each.record.kind or "error"], each.record.kind))
    rows = [_failed(shown, each) for each in most_first]
    return [
        Heading("Failures"),
        Table(("kind", "trainings", "what it means", "what the search does"), kinds),
        Table(("training", "kind", "reason", "epochs before", "MLflow"), rows),
    ]


def _failed(shown: Shown, trial: Trial) -> list[Cell | str]:
    record = trial.record
    return [shown.name(trial), record.kind, record.why, str(trial.count), shown.run(trial)]


def _table(shown: Shown, choices: Mapping[str, str]) -> list[Block]:
    ended = {each.record.signature for each in shown.done}
    others = [each for each in shown.trials if each.record.signature not in ended]
    order = [*shown.done, *others]
    whole = choices.get("rows") == ALL
    cut = order if whole else order[:MOST_ROWS]
    blocks: list[Block] = [Heading("Trainings")]
    if len(order) > MOST_ROWS:
        few = f"the first {MOST_ROWS}"
        links = [
            (few, Link(NAME, shown.kept)),
            (f"all {len(order):,}", Link(NAME, {**shown.kept, "rows": ALL})),
        ]
        blocks.append(Choice("Rows", links, links[whole][0]))
    caption = f"Best first by the validation clips; AUC is macro ROC-AUC. {shown.protocol}"
    return [*blocks, Table(COLUMNS, [_row(shown, each) for each in cut], caption)] if order else []


def _row(shown: Shown, trial: Trial) -> list[Cell | str]:
    record, result = trial.record, trial.result
    curve = Link(NAME, {**shown.kept, "trial": record.signature})
    state = Cell(record.outcome, hint=f"{record.kind}: {record.why}" if record.kind else "")
    valid, test = "", ""
    if result is not None:
        sure = scores.interval(result["test"], ARTIST) or scores.interval(result["test"], CLIP)
        valid = f"{result['valid']['roc_auc']:.4f}"
        test = f"{result['test']['roc_auc']:.4f}" + (f" ({sure.low:.3f} to {sure.high:.3f})" if sure else "")
    took = duration(trial.seconds) if trial.count else ""
    told = [valid, test, str(trial.count), took]
    return [
        shown.name(trial),
        state,
        *told,
        Cell("curves" if trial.count else "", link=curve),
        shown.run(trial),
    ]
