"""The page: complete without a network, and safe with whatever names it shows."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from dashboards.__main__ import main
from dashboards.page import Shown, polyline, render
from search import leaderboard
from search.ledger import About

EPOCHS = [{"valid_roc_auc": value} for value in (0.5, 0.75, 1.0)]


def a_search(name: str = "demo-smoke-1") -> Shown:
    about = About("Does it work?", "table3", "small", "python -m search.run")
    row = ("1", name, *[""] * (len(leaderboard.COLUMNS) - 2))
    return Shown(name, about, "demo", [row], [(name, polyline(EPOCHS))])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_shows_every_search_with_its_table_and_its_curves() -> None:
    page = Page(render([a_search("one"), a_search("two")]))
    assert page.tags.count("table") == page.tags.count("polyline") == 2
    for word in ("one", "two", "Does it work?", "95% interval", "python -m search.run"):
        assert word in page.text


def test_a_page_needs_no_network() -> None:
    text = render([a_search()])
    assert "http" not in text
    assert not {"script", "link", "img"} & set(Page(text).tags)


def test_names_are_text_whatever_they_say() -> None:
    page = Page(render([a_search('<script>alert("x")</script>')]))
    assert "script" not in page.tags
    assert '<script>alert("x")</script>' in page.text


def test_a_curve_runs_from_a_half_to_one() -> None:
    assert polyline(EPOCHS) == "4.0,116.0 160.0,60.0 316.0,4.0"
    assert polyline([]) == ""


@pytest.mark.usefixtures("fresh_home")
def test_without_searches_the_page_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"out={tmp_path / 'page'}"]) == 0
    assert "python -m search.run" in (tmp_path / "page" / "index.html").read_text()
    assert "0 searches in " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exprt"], "dashboards has no 'exprt'; did you mean export?"),
        (["export"], "say where to: python -m dashboards export out=DIR"),
        (["export", "ot=x"], "no word is called 'ot'; did you mean out?"),
    ],
)
def test_wrong_words_are_answered(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.strip() == said
