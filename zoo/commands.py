"""The commands of `python -m zoo` that move networks in and out: `export` and `import`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from zoo.entry import Entry, Option
from zoo.errors import ZooError
from zoo.facts import Value
from zoo.registry import entry

__all__ = ["EXPORT_WORDS", "IMPORT_WORDS", "export_command", "import_command"]

EXPORT_WORDS = ("model", "format", "out")
IMPORT_WORDS = ("network", "weights", "tags", "out", "layout", "epsilon")
EXPORT_EXAMPLE = "python -m zoo export model=models:/demo-table2@champion format=onnx out=tagger.onnx"
IMPORT_EXAMPLE = (
    "python -m zoo import network=samplecnn_m3_n9_s3 weights=theirs.pth tags=tags.txt out=adopted"
)


def export_command(others: Sequence[str], settings: Mapping[str, str]) -> int:
    """Write a trained network for other programs, and say how they use it."""
    _need("export", ("model", "out"), others, settings, EXPORT_EXAMPLE)
    kind = settings.get("format", "onnx")
    import zoo
    from zoo.exporting import check_target, export

    check_target(settings["out"], kind)
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
    import zoo
    from zoo.foreign import adopt, read_tags

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
    command: str, words: Sequence[str], others: Sequence[str], settings: Mapping[str, str], example: str
) -> None:
    if others:
        raise ZooError(f"{command} takes words such as {words[0]}= only, not {others[0]!r}: {example}")
    if missing := [word for word in words if not settings.get(word)]:
        raise ZooError(f"{command} needs {missing[0]}=: {example}")


def _option(wanted: Entry, name: str, text: str) -> Value:
    option: Option = wanted.rules.option(name)
    return text if option.choices else _number(name, text)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ZooError(f"{name}={text} is not a number") from None
