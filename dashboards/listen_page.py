"""Page Listen: a song in the browser's own player, and beside it what a model hears in it, second by second."""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.blocks import Block, Page, Text, Widget
from dashboards.songs import Songs
from datasets.audio import SUFFIXES
from datasets.words import command

NAME, TITLE = "listen", "Listen"


def page(songs: Songs | None, reading: object, choices: Mapping[str, str]) -> Page:
    """songs: None where there is no server, which an export says."""
    if songs is None:
        told = "This page hears songs, which takes a server on your machine. This starts it; then open this page there:"
        return Page(NAME, TITLE, [Text(told), Text(command("dashboards"), code=True)])
    models = songs.models
    known, listed = models.known, models.listed()  # in this order, as the registry may answer in between
    return Page(
        NAME,
        TITLE,
        [
            Text(
                "Choose a song and a model: the song plays here, and the map shows each tag's probability over time. "
                f"At most {songs.most_bytes / 1024**2:.3g} MiB and {songs.most_seconds / 3600:.3g} hours. The file is "
                "kept until it has been heard, and no longer."
            ),
            *_about(models.trouble, known, bool(listed)),
            Widget(
                "listen.html",
                {
                    "models": [(model.address, model.label) for model in listed],
                    "chosen": choices.get("model", ""),
                    "most_bytes": songs.most_bytes,
                    "accepted": ",".join(("audio/*", *SUFFIXES)),
                },
                "listen.js",
            ),
        ],
        live=not known,
    )


def _about(trouble: str, known: bool, any_listed: bool) -> list[Block]:
    if trouble:
        return [Text(trouble, alarming=True)]
    if not known:
        return [Text("The registry is being asked which models there are.")]
    if not any_listed:
        return [
            Text("No model is registered yet. A search registers its winner:"),
            Text(command("search.run"), code=True),
        ]
    return []
