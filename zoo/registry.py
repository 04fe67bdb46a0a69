"""Finding networks by name. A family is one file in `zoo/` with a `FAMILY`; no list names them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import RLock

from zoo.entry import Entry, Family, Listing
from zoo.errors import ZooError, did_you_mean

__all__ = ["entry", "names", "register"]

Range = tuple[float, float]  # least and most, both included

_families: dict[str, Family] = {}
_listed: dict[str, tuple[Family, Listing]] = {}
_lock = RLock()  # families are imported on first use, which several threads may be at once


def names(
    pattern: str = "*",
    table: str | None = None,
    *,
    family: str | None = None,
    m: int | None = None,
    depth: Range | float | None = None,
    parameters: Range | float | None = None,
    input_ms: Range | float | None = None,
) -> list[str]:
    """The names of the listed networks that match, in the order of the paper's tables, then of the families.

    Any other name of a family's grammar works in `entry` and `zoo.create` too.
    pattern:    a shell pattern such as "samplecnn_m3*"; case counts.
    table:      keep the networks of this table of the paper, such as "table2".
    family:     keep those of this file, such as "short_chunk".
    m:          keep the networks of the paper's rule with this filter length.
    depth:      (least, most) layers with weights, the dense head not counted; or the one number wanted.
    parameters: likewise, for 50 tags. Needs torch where neither a closed form nor zoo/costs.csv tells it.
    input_ms:   likewise, milliseconds of a segment.
    returns:    possibly an empty list.
    raises:     ZooError if there is no such table or family, or for a range that nothing can lie in.
    """
    wanted = {"depth": depth, "parameters": parameters, "input_ms": input_ms}
    ranges = {key: _range(key, value) for key, value in wanted.items()}
    _load_all()
    ordered = sorted(_listed.values(), key=lambda found: _place(*found))
    if table is not None:
        _check_known(
            table, {row.table for _, listing in ordered for row in listing.paper}, "no network stands in"
        )
        ordered = [found for found in ordered if any(row.table == table for row in found[1].paper)]
    if family is not None:
        _check_known(family, set(_families), "no family is called")
        ordered = [found for found in ordered if found[0].name == family]
    entries = [rules.entry(listing) for rules, listing in ordered if fnmatchcase(listing.name, pattern)]
    return [
        each.name
        for each in entries
        if (m is None or each.options.get("m") == m)
        and _within(each.depth, ranges["depth"])
        and _within(each.input_ms, ranges["input_ms"])
        and (parameters is None or _within(each.cost().parameters, ranges["parameters"]))
    ]


def entry(name: str) -> Entry:
    """The record of one network.

    name:    a listed name, or any name of a family's grammar such as "samplecnn_m3_n5_s243_w729".
    returns: an Entry with the family's default options. Needs no torch.
    raises:  ZooError for an unknown name (with the nearest ones), or one that no network can have (with why).
    """
    if not isinstance(name, str):
        raise ZooError(f"a network's name is a text, not {name!r:.80}; zoo.names() lists them")
    prefix = name.split("_")[0]
    if prefix in _family_files():  # the file of that name first: a plan need not import every family
        _load(prefix)
        if found := _find(name, [_families[prefix]]):
            return found
    _load_all()
    if found := _find(name, list(_families.values())):
        return found
    forms = [family.grammar for family in _families.values() if family.grammar and family.name == prefix]
    hint = "".join(f" ({prefix} names are {form})" for form in forms)
    raise ZooError(f"no network is called {name[:80]!r}{did_you_mean(name[:80], _listed)}{hint}")


def register(family: Family) -> None:
    """Add a family. Files in `zoo/` are registered when found; call this for one that lives elsewhere.

    raises: ZooError if the family or one of its networks is called like one that is there already.
    """
    with _lock:
        _load_all()
        _add(family)


def _check_known(word: str, known: set[str], complaint: str) -> None:
    if word not in known:
        near = did_you_mean(word, known) or f"; there are {', '.join(sorted(known))}"
        raise ZooError(f"{complaint} {word!r}{near}")


def _range(key: str, wanted: Range | float | None) -> Range | None:
    """Least and most of what is wanted. Raises ZooError unless it is a number, or two in their order."""
    if wanted is None:
        return None
    pair = wanted if isinstance(wanted, tuple | list) else (wanted, wanted)
    if len(pair) != 2 or not all(isinstance(end, int | float) for end in pair):
        raise ZooError(f"{key}={wanted!r} is no range; give (least, most), or one number")
    least, most = pair
    if not least <= most:  # nor with a NaN
        raise ZooError(f"{key}={wanted!r}: nothing lies from {least} to {most}; the least comes first")
    return least, most


def _within(value: float | None, wanted: Range | None) -> bool:
    return wanted is None or (value is not None and wanted[0] <= value <= wanted[1])


def _add(family: Family) -> None:
    taken = [listing.name for listing in family.listed if listing.name in _listed]
    own = [listing.name for listing in family.listed]
    taken += sorted({name for name in own if own.count(name) > 1})
    if family.name in _families or taken:
        raise ZooError(
            f"the zoo has {taken[0] if taken else family.name!r} already; {family.name} needs another name"
        )
    _families[family.name] = family
    _listed.update((listing.name, (family, listing)) for listing in family.listed)


def _find(name: str, families: list[Family]) -> Entry | None:
    for family in families:
        known = _listed.get(name)
        if known and known[0] is family:
            return family.entry(known[1])
        if family.parse is not None and (listing := family.parse(name)):
            return family.entry(listing)
    return None


def _place(family: Family, listing: Listing) -> tuple[int, str, str, int]:
    """Sort key: networks of Table 2, then 3, ..., then those of no table; in each the family's own order."""
    table = next((row.table for row in listing.paper if row.table.startswith("table")), "")
    return (not table, table, family.name, family.listed.index(listing))


@cache
def _family_files() -> frozenset[str]:
    """Modules of this folder that define FAMILY. Read as text: importing the others would import torch."""
    files = Path(__file__).parent.glob("*.py")
    return frozenset(
        f.stem for f in files if re.search(r"^FAMILY(:.*)? = ", f.read_text("utf-8"), re.MULTILINE)
    )


def _load(module: str) -> None:
    """Import and register a family, once."""
    with _lock:
        if module not in _families:
            _load_file(module)


def _load_file(module: str) -> None:
    family = import_module(f"zoo.{module}").FAMILY
    if family.name != module:
        raise ZooError(
            f"zoo/{module}.py holds the family {family.name!r}; file and family must share one name"
        )
    _add(family)


def _load_all() -> None:
    for module in sorted(_family_files()):
        _load(module)
