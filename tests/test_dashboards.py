"""The export: complete without a network, its pages lead to each other, and whatever a name says, it is text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_searches import a_search, trained

from dashboards import export
from dashboards.__main__ import main
from dashboards.blocks import Cell, Choice, Facts, Link, Page, Table, Text
from dashboards.export import export as export_to
from dashboards.pages import Listed
from dashboards.reading import Reading

ONE, OTHER = "samplecnn_m3_n4_s729", "samplecnn_m3_n5_s243"


class Seen(HTMLParser):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.script = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.script = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.script = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self.script else data

    def links(self) -> set[str]:
        return {str(attributes["href"]) for tag, attributes in self.elements if tag == "a"}


@pytest.fixture
def searched(bare_home: Path) -> Path:
    """A home with two searches."""
    a_search(bare_home, "demo-one", [trained(ONE)])
    a_search(bare_home, "demo-two", [trained(OTHER)])
    return bare_home


def exported(out: Path) -> dict[str, Seen]:
    assert main(["export", f"out={out}"]) == 0
    return {file.name: Seen(file) for file in out.iterdir()}


def test_every_search_is_exported_with_its_table_and_its_curves(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    pages = exported(out)
    assert capsys.readouterr().out == f"2 searches in {out}/index.html, of 6 pages\n"
    assert set(pages) == {
        *("index.html", "search.html", "search-demo-one.html", "leaderboard.html", "filters.html"),
        "listen.html",
    }
    for name, network in (("search.html", OTHER), ("search-demo-one.html", ONE)):
        assert network in pages[name].words
        assert "figure" in {tag for tag, _ in pages[name].elements}
    for network in (ONE, OTHER):
        assert network in pages["leaderboard.html"].words


def test_pages_lead_to_each_other_and_to_nothing_else(searched: Path, tmp_path: Path) -> None:
    pages = exported(tmp_path / "out")
    for page in pages.values():
        assert {link for link in page.links() if link != "#main"} <= set(pages)
    assert "search-demo-one.html" in pages["leaderboard.html"].links()
    assert {"index.html", "search.html", "listen.html"} <= pages["search-demo-one.html"].links()


def test_an_export_needs_no_network(searched: Path, tmp_path: Path) -> None:
    for page in exported(tmp_path / "out").values():
        asked = [each for tag, each in page.elements if tag not in ("a", "meta")]
        assert {each["href"] for each in asked if "href" in each} == {"data:,"}
        assert not [each for each in asked if "src" in each]
        (policy,) = [
            str(each["content"]) for tag, each in page.elements if tag == "meta" and "http-equiv" in each
        ]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "http" not in policy


def test_what_needs_a_server_says_how_to_start_one(searched: Path, tmp_path: Path) -> None:
    pages = exported(tmp_path / "out")
    assert "python -m dashboards" in pages["listen.html"].words
    assert "python -m dashboards" in pages["filters.html"].words
    assert "Written 20" in pages["index.html"].words


def test_names_are_text_and_no_paths_whatever_they_say(bare_home: Path, tmp_path: Path) -> None:
    evil = '../<script>alert("x")</script>'
    a_search(bare_home, evil, [trained(ONE)])
    a_search(bare_home, "later", [trained(OTHER)])
    pages = exported(tmp_path / "out")
    assert "search-script-alert-x-script.html" in pages
    assert evil in pages["search-script-alert-x-script.html"].words
    assert {file.parent for file in tmp_path.rglob("*.html")} == {tmp_path / "out"}


@pytest.mark.usefixtures("fresh_home")
def test_without_searches_the_page_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"out={tmp_path / 'page'}"]) == 0
    assert "python -m search.run" in (tmp_path / "page" / "index.html").read_text()
    assert "0 searches in " in capsys.readouterr().out


def test_links_are_found_wherever_a_page_has_them() -> None:
    blocks = [
        Text("none"),
        Choice("a", [("one", Link("one"))]),
        Table(["b"], [["text", Cell("two", Link("two"))]]),
        Facts([("c", Cell("three", Link("three"))), ("d", "none")]),
    ]
    assert [link.page for link in export.links(blocks)] == ["one", "two", "three"]


@pytest.mark.usefixtures("bare_home")
def test_only_the_choices_of_the_list_are_written_and_pages_that_show_the_same_once(tmp_path: Path) -> None:
    def page(reading: Reading, choices: dict[str, str]) -> Page:
        chosen = choices.get("study", "a")
        options = [(name, Link("p", {"study": name})) for name in ("a", "b", "B")]
        options.append(("other", Link("p", {"study": "a", "rows": "all"})))
        return Page("p", "P", [Text(chosen), Choice("study", options, chosen)])

    done = export_to([Listed("p", "P", page, ["study"])], Reading(), tmp_path)
    assert (done.pages, done.left_out, list(done.failed)) == (3, 0, [])
    assert {file.name for file in tmp_path.glob("*.html")} == {"index.html", "p-b.html", "p-b-2.html"}
    seen = Seen(tmp_path / "index.html")
    assert seen.links() - {"#main"} == {"index.html", "p-b.html", "p-b-2.html"}
    assert "other" not in seen.words


@pytest.mark.usefixtures("bare_home")
def test_a_page_that_fails_is_named_and_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*given: object) -> Page:
        raise RuntimeError("secret")

    monkeypatch.setattr("dashboards.ranking.page", broken)
    assert main(["export", f"out={tmp_path / 'out'}"]) == 1
    told = capsys.readouterr().err
    assert "leaderboard : This page could not be made, and that is a fault of this program" in told
    assert re.search(r"could not be made", (tmp_path / "out" / "leaderboard.html").read_text())
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.usefixtures("bare_home")
def test_there_is_an_end_to_how_many_pages_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(reading: Reading, choices: dict[str, str]) -> Page:
        at = int(choices.get("n", "0"))
        return Page("p", "P", [Choice(str(at), [("next", Link("p", {"n": str(at + 1)}))])])

    monkeypatch.setattr(export, "MOST_PAGES", 5)
    done = export_to([Listed("p", "P", page, ["n"])], Reading(), tmp_path)
    assert (done.pages, done.left_out) == (5, 1)


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
