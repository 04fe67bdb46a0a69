"""Blocks as HTML: every kind has its form, and whatever a name says, it is text."""

import json
import re
from html.parser import HTMLParser

import pytest

from dashboards import rendering
from dashboards.blocks import (
    Cell,
    Choice,
    Facts,
    Figure,
    Heading,
    Link,
    Page,
    Sound,
    Table,
    Text,
    Widget,
)

EVIL = "<script>alert(1)</script>\"'&\u2028</style>"
FIGURE = Figure(
    "one",
    [{"x": [1, None], "name": EVIL}],
    {"xaxis": {"title": {"text": EVIL}}},
    EVIL,
)
BLOCKS = [
    Heading(EVIL),
    Text(EVIL),
    Text(EVIL, code=True, alarming=True),
    Table([EVIL], [[Cell(EVIL, Link("two", {"study": EVIL}), "below", EVIL)], [EVIL]], EVIL, [(EVIL, 1)]),
    FIGURE,
    Choice(EVIL, [(EVIL, Link("two", {"a": EVIL})), ("other", Link("one"))], EVIL),
    Facts([(EVIL, EVIL), (EVIL, Cell(EVIL, Link(address="https://example.org/?" + EVIL)))]),
    Sound(EVIL, b"RIFF"),
]


def shell(served: bool = True) -> rendering.Shell:
    def address(link: Link) -> str | None:
        return f"/{link.page}" if link.page in ("one", "two") else None

    return rendering.Shell([("One", Link("one")), ("Gone", Link("gone"))], address, served)


class Seen(HTMLParser):
    """The elements of a document with their attributes, and what is written in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_kind_of_block_has_a_form() -> None:
    shown = {type(block) for block in BLOCKS} | {Widget}
    assert shown == set(rendering.kinds())
    parts = rendering.blocks(Page("one", "One", BLOCKS), shell())
    assert len({part.key for part in parts}) == len(BLOCKS)


@pytest.mark.parametrize("served", [True, False])
def test_whatever_a_name_says_it_is_text(served: bool) -> None:
    page = Page("one", EVIL, [block for block in BLOCKS if served or block is not FIGURE])
    seen = Seen(rendering.whole(page, shell(served)))
    scripts = seen.all("script")
    assert all("src" in each or each.get("type") == "application/json" for each in scripts)
    assert not any(name.startswith("on") for _, attributes in seen.elements for name in attributes)
    assert "".join(seen.text).count("alert(1)") >= 8
    assert all("style" not in attributes for tag, attributes in seen.elements if tag != "div")


def test_a_figure_is_data_that_cannot_end_its_element() -> None:
    (part,) = rendering.blocks(Page("one", "One", [FIGURE]), shell())
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', part.html, flags=re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data) == {"traces": FIGURE.traces, "layout": FIGURE.layout}


def test_what_is_no_number_is_refused_rather_than_drawn() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        rendering.as_data({"x": [float("nan")]})


def test_a_link_that_leads_nowhere_is_text() -> None:
    rows = [[Cell("a", Link("gone"))], [Cell("b", Link("two"))], [Cell("c", Link(address="javascript:x"))]]
    seen = Seen(rendering.blocks(Page("one", "One", [Table(["t"], rows)]), shell())[0].html)
    assert [each["href"] for each in seen.all("a")] == ["/two"]


def test_a_verdict_is_a_word_besides_a_colour() -> None:
    rows = [[Cell("0.9055", verdict="not run")], [Cell("a tie", verdict="tie")]]
    seen = Seen(rendering.blocks(Page("one", "One", [Table(["t"], rows)]), shell())[0].html)
    assert [each["class"] for each in seen.all("span")] == ["verdict not-run", "verdict tie"]
    assert "".join(seen.text).split() == ["t", "0.9055", "not", "run", "a", "tie"]


def test_a_choice_is_a_menu_where_it_is_served_and_links_in_a_file() -> None:
    choice = Choice("study", [("a", Link("one")), ("b", Link("two")), ("c", Link("gone"))], "b")
    page = Page("one", "One", [choice])
    served, filed = (Seen(rendering.blocks(page, shell(served))[0].html) for served in (True, False))
    assert [each["value"] for each in served.all("option")] == ["/one", "/two", ""]
    assert ["selected" in each for each in served.all("option")] == [False, True, False]
    assert [each["href"] for each in filed.all("a")] == ["/one"]
    assert "".join(filed.text).split() == ["study", "a", "b"]


def test_of_options_with_one_name_a_single_one_is_chosen() -> None:
    page = Page("one", "One", [Choice("study", [("a", Link("one")), ("a", Link("two"))], "a")])
    served, filed = (Seen(rendering.blocks(page, shell(served))[0].html) for served in (True, False))
    assert ["selected" in each for each in served.all("option")] == [True, False]
    assert [each["href"] for each in filed.all("a")] == ["/two"]


def test_the_mark_of_a_block_changes_with_what_it_shows_and_its_key_does_not() -> None:
    (before,) = rendering.blocks(Page("one", "One", [Text("a")]), shell())
    (after,) = rendering.blocks(Page("one", "One", [Text("b")]), shell())
    (again,) = rendering.blocks(Page("one", "One", [Text("a")]), shell())
    assert before == again
    assert (before.key, before.mark == after.mark) == (after.key, False)


def test_a_file_asks_for_nothing() -> None:
    seen = Seen(rendering.whole(Page("one", "One", [FIGURE]), shell(served=False)))
    assert not any("src" in attributes for _, attributes in seen.elements)
    assert [each["href"] for each in seen.all("link")] == ["data:,"]
    assert sum("Plotly" in text for text in seen.text) >= 2  # the library, and what draws with it


def test_words_stand_at_the_left_and_numbers_at_the_right() -> None:
    table = Table(["rank", "network", "AUC"], [["1", "crnn", ""], ["", "4-layer net", "0.9 above"]], "all")
    table = Table(table.columns, [*table.rows, ["2", Cell("fcn4"), "-0.1"]])
    assert rendering.sides(table) == ["number", "word", "number"]
    assert rendering.sides(Table(["a", "b"], [])) == ["number", "number"]
