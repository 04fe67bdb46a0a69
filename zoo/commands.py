"""The commands of `python -m zoo` about networks: `list`, `info`, `export`, `import`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from datasets import words as typed
from zoo.entry import Entry, Option
from zoo.errors import ZooError, did_you_mean
from zoo.facts import Value
from zoo.registry import entry, names
from zoo.trained.here import EXAMPLE, is_here
from zoo.trained.locate import check, facts, fetched, is_address
from zoo.trained.targets import check_folder, check_target

__all__ = [
    "EXPORT_WORDS",
    "IMPORT_WORDS",
    "LIST_WORDS",
    "export_command",
    "import_command",
    "info_command",
    "list_command",
    "whole_number",
]

LIST_WORDS = ("n_tags", "table", "family", "m", "depth", "parameters", "input_ms")

EXPORT_WORDS = ("model", "format", "out")
IMPORT_WORDS = ("network", "weights", "tags", "out", "layout", "epsilon")
EXPORT_EXAMPLE = ("model=models:/demo-table2@champion", "format=onnx", "out=tagger.onnx")
IMPORT_EXAMPLE = ("network=samplecnn_m3_n9_s3", "weights=theirs.pth", "tags=tags.txt", "out=adopted")


def list_command(patterns: Sequence[str], settings: Mapping[str, str]) -> int:
    """Print the table of the networks that match."""
    from zoo.screens import console, list_table

    if len(patterns) > 1:
        raise ZooError(
            f"list takes one pattern, not {len(patterns)}; put it in quotes, or the shell replaces *"
        )
    pattern = patterns[0] if patterns else "*"
    found = names(
        pattern,
        settings.get("table"),
        family=settings.get("family"),
        m=whole_number(settings, "m", 0) if "m" in settings else None,
        depth=_range(settings, "depth"),
        parameters=_range(settings, "parameters"),
        input_ms=_range(settings, "input_ms"),
    )
    if not found:
        near = did_you_mean(pattern, names())
        words = " ".join([pattern, *(f"{key}={settings[key]}" for key in LIST_WORDS[1:] if key in settings)])
        raise ZooError(f"no network matches {words}{near}; {typed.command('zoo')} lists all")
    console().print(list_table((entry(name) for name in found), whole_number(settings, "n_tags", 50)))
    return 0


def info_command(wanted: Sequence[str], settings: Mapping[str, str]) -> int:
    """Print all that is known of one network, or of one trained model."""
    from zoo.screens import console, info_lines

    if len(wanted) != 1:
        example = typed.command("zoo", ["info", "samplecnn_m3_n9_s3"])
        raise ZooError(f"info takes the name of one network: {example}")
    if is_address(wanted[0]) or is_here(wanted[0]):
        check(wanted[0])
        console().print("\n".join(_model_lines(wanted[0])))
        return 0
    try:
        network = entry(wanted[0])
    except ZooError as error:
        raise ZooError(f"{error}; a trained model is asked for by its address, such as {EXAMPLE}") from error
    console().print("\n".join(info_lines(network, whole_number(settings, "n_tags", 50))))
    return 0


def _model_lines(address: str) -> list[str]:
    from zoo.model_screen import model_lines
    from zoo.trained.checkpoint import read_card

    with fetched(address) as (folder, source):
        return model_lines(source, read_card(folder), facts(address) if is_address(address) else ())


def whole_number(settings: Mapping[str, str], key: str, default: int) -> int:
    """A setting of 1 or more, or its default. Raises ZooError for anything else, or for one of more than 9 digits."""
    text = settings.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not int(text[:9]) >= 1:
        raise ZooError(f"{key}={text[:80]} is not a whole number of 1 or more")
    if len(text) > 9:
        raise ZooError(f"{key}={text[:80]} is too large; at most 9 digits are read")
    return int(text)


def _range(settings: Mapping[str, str], key: str) -> tuple[float, float] | None:
    """`LOW..HIGH`, either end left out, or one number; None where it is not asked for."""
    if key not in settings:
        return None
    text = settings[key]
    low, dots, high = text.partition("..")
    try:
        if not low and not high:
            raise ValueError(text)
        least = float(low) if low else 0.0
        most = (float(high) if high else math.inf) if dots else least
    except ValueError:
        raise ZooError(f"{key}={text[:80]} is no range; write {key}=LOW..HIGH, or one number") from None
    if not least <= most:  # nor with a NaN
        raise ZooError(f"{key}={text[:80]} holds nothing; write {key}=LOW..HIGH, the lower number first")
    return least, most


def export_command(others: Sequence[str], settings: Mapping[str, str]) -> int:
    """Write a trained network for other programs, and say how they use it."""
    _need("export", ("model", "out"), others, settings, EXPORT_EXAMPLE)
    kind = settings.get("format", "onnx")
    check_target(settings["out"], kind)
    check(settings["model"])
    import zoo
    from zoo.trained.exporting import export

    tagger = zoo.load(settings["model"])
    print(f"exporting {tagger.card.network}, and checking what comes out of it ...", file=sys.stderr)
    print(export(tagger, settings["out"], kind))
    return 0


def import_command(others: Sequence[str], settings: Mapping[str, str]) -> int:
    """Save a foreign network's weights as a checkpoint, and say which layer came from which."""
    _need("import", ("network", "weights", "tags", "out"), others, settings, IMPORT_EXAMPLE)
    wanted = entry(settings["network"])
    options = {
        name: _option(wanted, name, text) for name, text in settings.items() if name not in IMPORT_WORDS
    }
    epsilon = settings.get("epsilon")
    check_folder(settings["out"])
    import zoo
    from zoo.trained.foreign import adopt, read_tags

    adopted = adopt(
        wanted.name,
        settings["weights"],
        read_tags(settings["tags"]),
        layout=settings.get("layout", "auto"),
        epsilon=None if epsilon is None else _number("epsilon", epsilon),
        **options,
    )
    zoo.save(adopted.network, settings["out"], adopted.card)
    print(adopted)
    print(f"saved: {settings['out']}")
    return 0


def _need(
    command: str,
    words: Sequence[str],
    others: Sequence[str],
    settings: Mapping[str, str],
    example: Sequence[str],
) -> None:
    said = typed.command("zoo", [command, *example])
    if others:
        raise ZooError(f"{command} takes words such as {words[0]}= only, not {others[0]!r}: {said}")
    if missing := [word for word in words if not settings.get(word)]:
        raise ZooError(f"{command} needs {missing[0]}=: {said}")


def _option(wanted: Entry, name: str, text: str) -> Value:
    option: Option = wanted.rules.option(name)
    return text if isinstance(option.default, str) else _number(name, text)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ZooError(f"{name}={text} is not a number") from None
