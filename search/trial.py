"""One trial: a network trained epoch by epoch in its own folder, so that nothing is lost between two epochs."""

import contextlib
import json
from dataclasses import asdict
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import datasets
import zoo
from datasets.split import Split
from datasets.whole import written_whole
from search import files, resamples, score_table, scores, throughput
from search.evaluation import Evaluation, evaluate
from search.feed import Feed, open_feed
from search.machine import local_device
from search.metrics import both_classes
from search.score_table import ClipScores, SplitScores
from search.settings import SearchError, TrialSettings
from search.training import Epoch, Fit


class Trial:
    """A stream of epochs that can be left and taken up again in another process; see `advance`.

    Holds its folder until `close`; waits for whoever holds it already.

    settings: what is trained, on what. lineage: what the card says of where the weights come from.
    raises: SearchError if the data set is not the one that the settings name.
    """

    def __init__(self, settings: TrialSettings, device: str, lineage: dict[str, Any]) -> None:
        self.settings, self.lineage = settings, lineage
        self.folder = files.trial_folder(settings.signature())
        self._lock = files.lock(self.folder)  # another search may train the same: then its result is taken
        try:
            files.bring(settings.signature())  # another machine may have come further
            self.history: list[dict[str, Any]] = files.read_json(self.folder / files.EPOCHS) or []
            self.result: dict[str, Any] | None = files.read_json(self.folder / files.RESULT)
            if self.result is None:
                self.fit = self._prepare(device)
                self.epochs = iter(self.fit)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder. The state of the last epoch stays in it."""
        self._lock.close()

    @property
    def entry(self) -> zoo.Entry:
        """The network's record, with the options of the settings."""
        return zoo.entry(self.settings.network).with_options(**self.settings.options)

    def _prepare(self, device: str) -> Fit:
        settings = self.settings
        card = datasets.card(settings.dataset)
        if card.fingerprint != settings.fingerprint:
            raise SearchError(
                f"{settings.dataset} has fingerprint {card.fingerprint} here, {settings.fingerprint} where the search "
                f"was started: build it again from the same source, or share one WAVEZOO_HOME"
            )
        entry = self.entry
        torch.manual_seed(settings.seed)
        network = entry.build(len(card.tags)).to(device)
        train = self._open("train", entry, device)
        segments = settings.training.segments_per_epoch(len(train), entry.cost(len(card.tags)).multiply_adds)
        fit = Fit(
            network,
            train,
            self._open("valid", entry, device),
            settings.training,
            settings.seed,
            segments,
        )
        files.write_json(self.folder / files.SETTINGS, settings.to_json())
        self._restore(fit)
        return fit

    def _open(self, split: str, entry: zoo.Entry, device: str | torch.device) -> Feed:
        return open_feed(self.settings.dataset, split, self.settings.convention, entry, device)

    def advance(self) -> dict[str, Any]:
        """Train one more epoch, save, and return its row.

        After the last epoch the row's "result" holds the test scores; a trial that had ended returns it at once.
        """
        if self.result is not None:
            files.share(self.settings.signature(), patient=True)
            return {**self.history[-1], "result": self.result}
        epoch = next(self.epochs)
        row = asdict(epoch)
        self.history = [*self.history, row]
        if not epoch.last:
            self._save()
            files.share(self.settings.signature())  # a storage that is away gets this epoch with the next one
            return row
        self.result = self._finish(epoch)
        files.share(self.settings.signature(), patient=True)
        return {**row, "result": self.result}

    def _save(self) -> None:
        tensors, progress = self.fit.state()
        # Progress and history ride in the tensors' file: one rename moves all of them on together.
        about = {"progress": json.dumps(progress), "epochs": json.dumps(self.history)}
        with written_whole(self.folder / files.STATE) as part:
            save_file(tensors, part, metadata=about)
        files.write_json(self.folder / files.EPOCHS, self.history)

    def _restore(self, fit: Fit) -> None:
        path = self.folder / files.STATE
        if not path.is_file():
            self.history = []
            return
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            about = file.metadata()
        fit.restore(tensors, json.loads(about["progress"]))
        self.history = json.loads(about["epochs"])

    def _finish(self, epoch: Epoch) -> dict[str, Any]:
        """Score the test clips once, with the weights that count, and write what remains of the trial."""
        network, valid = self.fit.network, self.fit.valid.split
        heard = self._open("test", self.entry, self.fit.device)
        test = heard.split
        on_valid = Evaluation(self.fit.best_probabilities.numpy(), self.fit.progress.best_loss)
        on_test = evaluate(network, heard)
        said = ClipScores(
            tags=test.tags,
            protocol=protocol(self.settings, test),
            splits={"valid": _said(valid, on_valid), "test": _said(test, on_test)},
            losses={"valid": on_valid.loss, "test": on_test.loss},
        )
        resampled = resamples.of(said)
        result = {
            "signature": self.settings.signature(),
            "network": self.settings.network,
            "best_epoch": self.fit.progress.best_epoch,
            "epochs": epoch.epoch,
            "seconds": sum(row["seconds"] for row in self.history),
            **scores.summary(said, resampled),
        }
        self._write_checkpoint(network, test, result)
        score_table.write(self.folder / files.SCORES, said)
        resamples.write(self.folder / files.RESAMPLES, resampled)
        files.write_json(self.folder / files.EPOCHS, self.history)
        files.write_json(self.folder / files.RESULT, result)
        self._note_throughput(result)
        (self.folder / files.STATE).unlink(missing_ok=True)
        return result

    def _note_throughput(self, result: dict[str, Any]) -> None:
        """For later plans; a disk that takes no more notes does not undo a training."""
        fit = self.fit
        cost = self.entry.cost(len(fit.valid.split.tags)).multiply_adds
        trained = fit.segments or len(fit.train)
        with contextlib.suppress(OSError):
            throughput.note(
                local_device(),
                self.entry.family,
                training=float(cost) * trained * result["epochs"],
                evaluation=float(cost) * len(fit.valid) * result["epochs"],
                seconds=result["seconds"],
            )

    def _write_checkpoint(self, network: nn.Module, test: Split, result: dict[str, Any]) -> None:
        card = zoo.Card.of(
            network,
            tags=test.tags,
            protocol=result["protocol"],
            scores={"valid": result["valid"], "test": result["test"]},
            lineage={**self.lineage, "signature": result["signature"], "settings": self.settings.to_json()},
            licence=test.card.licence,
        )
        zoo.save(network, self.folder / files.CHECKPOINT, card)


def _said(split: Split, evaluation: Evaluation) -> SplitScores:
    return SplitScores(
        clip_ids=tuple(split.clip_ids),
        artists=tuple(artist or "" for artist in split.artists),
        labels=split.labels,
        probabilities=evaluation.probabilities,
        subsets=split.subsets,
    )


def protocol(settings: TrialSettings, test: Split) -> dict[str, Any]:
    """What a score on these clips means; see search/protocol.py."""
    return {
        "dataset": settings.dataset,
        "fingerprint": settings.fingerprint,
        "convention": settings.convention,
        "split": "test",
        "tag_hash": settings.tag_hash,
        "clips": test.n_clips,
        "sample_rate_hz": test.sample_rate_hz,
        "segments_per_clip": test.segments_per_clip,
        "tags_scored": int(both_classes(test.labels).sum()),
    }
