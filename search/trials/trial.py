"""One trial: a network trained epoch by epoch in its own folder, so that nothing is lost between two epochs."""

import contextlib
import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

import zoo
from datasets.split import Split
from search import failures, files
from search.machine import local_device
from search.planning import throughput
from search.scoring import resamples, score_table, scores
from search.scoring.metrics import both_classes
from search.scoring.score_table import ClipScores, SplitScores
from search.settings import TrialSettings
from search.trials import restored
from search.trials.attempts import Attempt, Limit
from search.trials.beginning import Feeds, begun, check_data, entry_of, take_up, write_state
from search.trials.errand import Errand
from search.trials.evaluation import Evaluation, evaluate
from search.trials.team import ALONE, Team
from search.trials.training import Epoch

# Inside an epoch a trial saves itself this often, and never for more than a hundredth of its time.
MOMENT_SECONDS, MOMENT_SHARE = 300.0, 0.01
PLAIN = "plain.txt"  # in the folder of a trial that a GPU steps through without a graph: why


class Paused(Exception):
    """The trial has left off where it was told to; its folder has all that it takes to go on."""


class Trial:
    """A stream of epochs that can be left and taken up again in another process; see `advance`.

    Holds its folder until `close`; waits for whoever holds it already.

    settings: what is trained, on what. lineage: what the card says of where the weights come from.
    limit:    how long an epoch may take before this process is ended; None for ever.
    halted:   asked after each batch; once it is true, the trial saves itself and raises Paused.
    gpus:     how many the trial has, or the part of one.
    gather:   called with the device before the network is made: the processes that train along; see beginning.follow.
    beside, feeds: the signatures of the trials that are trained together with this one, and what all of them hear.
    raises: DataTrouble if the data set is not the one that the settings name.
    """

    def __init__(
        self,
        settings: TrialSettings,
        device: str,
        lineage: dict[str, Any],
        limit: Limit | None = None,
        halted: Callable[[], bool] = lambda: False,
        gpus: float = 0.0,
        gather: Callable[[str], Team] = lambda device: ALONE,
        beside: Sequence[str] = (),
        feeds: Feeds | None = None,
    ) -> None:
        self.settings, self.lineage, self.halted, self.gather = settings, lineage, halted, gather
        self.device, self.gpus, self.feeds = torch.device(device), gpus, feeds or Feeds()
        self.folder = files.trial_folder(settings.signature())
        self._lock = files.lock(self.folder)  # another search may train the same: then its result is taken
        self._sharing = Errand()
        self.attempt: Attempt | None = None
        self.history: list[dict[str, Any]] = []
        try:
            files.bring(settings.signature())  # another machine may have come further
            others = [files.trial_folder(each) for each in beside]
            self.attempt = Attempt(self.folder, limit, others) if limit else None
            self.history = files.read_json(self.folder / files.EPOCHS) or []
            self.result: dict[str, Any] | None = files.read_json(self.folder / files.RESULT)
            if self.result is None:
                with self.in_time():
                    self.prepare()
            else:
                files.remove_states(self.folder)  # whoever trained it may have been killed before doing so
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder. The state of the last epoch stays in it.

        Why a copy of the folder failed is told no more: whoever takes the trial up finds it out.
        """
        with contextlib.suppress(Exception), self.in_time():
            self._sharing.close()
        if self.attempt is not None:
            self.attempt.close()
        self._lock.close()

    @property
    def entry(self) -> zoo.Entry:
        """The network's record, with the options of the settings."""
        return entry_of(self.settings)

    def prepare(self) -> None:
        """Make the training, as it stands in the folder."""
        self._sharing.wait()
        check_data(self.settings)
        fit = begun(self.settings, self.device, self.gather(self.device.type), self.feeds)
        files.write_json(self.folder / files.SETTINGS, self.settings.to_json())
        self.history = take_up(fit, self.folder)
        fit.between = self._between
        self.fit, self.epochs = fit, iter(fit)
        self._next_save = time.monotonic() + MOMENT_SECONDS

    def advance(self) -> dict[str, Any]:
        """Train one more epoch, save, and return its row.

        After the last epoch the row's "result" holds the test scores; a trial that had ended returns it at once.
        An epoch that finds no room in memory is done again with the batch in smaller parts; see `Fit`.
        raises: Paused once `halted` says so; whatever stands in the way of training.
        """
        if self.result is not None:
            files.share(self.settings.signature(), patient=True)
            return {**self.history[-1], "result": self.result}
        while True:
            try:
                self.leave_if_halted()
                with self.in_time():
                    return self.keep(None if self.fit.progress.finished else next(self.epochs))
            except Exception as error:
                if not failures.memory_kind(error) or not self._makes_room():
                    raise
            self._start_epoch_again()  # out here, where the error holds on to nothing any more

    def keep(self, epoch: Epoch | None) -> dict[str, Any]:
        """Save an epoch that `fit` has trained, and return its row; see `advance`.

        epoch: None where the last one is saved already, and only what comes after it is left to do.
        """
        if epoch is not None:
            self.history = [*self.history, asdict(epoch)]
            self._save()
            if self.fit.stepper.why_plain:
                self._note_plain(self.fit.stepper.why_plain)
                self.fit.stepper.why_plain = ""
        row = self.history[-1]
        if not row["last"]:
            self._share_meanwhile()
            return row
        self.result = self._finish()
        files.share(self.settings.signature(), patient=True)
        return {**row, "result": self.result}

    @contextlib.contextmanager
    def in_time(self, others_seconds: float = 0.0) -> Iterator[None]:
        """What lasts too long in here ends this process. others_seconds: for the epochs of trials beside this one."""
        if self.attempt is None:
            yield
            return
        self.attempt.begin([row["seconds"] for row in self.history], others_seconds)
        try:
            yield
        finally:
            self.attempt.rest()

    @property
    def patience_seconds(self) -> float:
        """How long its next epoch may take; 0 where nobody limits it."""
        return self.attempt.limit.seconds([row["seconds"] for row in self.history]) if self.attempt else 0.0

    def _makes_room(self) -> bool:
        """Whether the training can do with less memory than it just did."""
        if self.fit.uncapture():
            self._note_plain(traceback.format_exc())
            return True
        # Clips are looked at many at once however small the parts of a batch are.
        return self.fit.network.training and self.fit.shrink()

    def _note_plain(self, why: str) -> None:
        """In the trial's folder, why its steps are no graphs; a disk that takes no more notes stops no training."""
        with contextlib.suppress(OSError):
            files.write_text(self.folder / PLAIN, why)

    def _start_epoch_again(self) -> None:
        """From the state at its beginning, in the way and the parts that the training has come down to."""
        parts, captures = self.fit.micro_batch_size, self.fit.stepper.captures
        self._sharing.wait()
        (self.folder / files.MOMENT).unlink(missing_ok=True)
        self.drop()
        self.prepare()
        self.fit.micro_batch_size, self.fit.stepper.captures = parts, captures

    def drop(self) -> None:
        """Give the training's memory back, until `prepare`."""
        del self.fit, self.epochs
        gc.collect()  # a training and what takes its steps know each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def leave_if_halted(self) -> None:
        """raises: Paused once `halted` says so."""
        if self.halted():
            raise Paused

    def _between(self) -> None:
        """After each batch: save, if the epoch has gone on for long or is to be left here."""
        if self.halted():
            self._save_moment()
            files.share(self.settings.signature())
            raise Paused
        if time.monotonic() >= self._next_save:
            self._save_moment()

    def _share_meanwhile(self) -> None:
        """Have the folder copied while the next epoch is trained; a storage that is away gets it with that one."""
        if files.storage() is not None:
            self._sharing.begin(partial(files.share, self.settings.signature()))

    def _save(self) -> None:
        try:
            self._sharing.wait()
        finally:  # what went wrong with a copy is told once this epoch is safe
            self._write_state()

    def _write_state(self) -> None:
        tensors, progress = self.fit.state()
        # Progress and history ride in the tensors' file: one rename moves all of them on together.
        about = {"progress": json.dumps(progress), "epochs": json.dumps(self.history)}
        write_state(self.folder / files.STATE, tensors, about)
        files.write_json(self.folder / files.EPOCHS, self.history)
        (self.folder / files.MOMENT).unlink(missing_ok=True)
        self._next_save = time.monotonic() + MOMENT_SECONDS

    def _save_moment(self) -> None:
        try:
            self._sharing.wait()
        finally:
            self._write_moment()

    def _write_moment(self) -> None:
        began = time.monotonic()
        tensors, about = self.fit.moment()
        write_state(self.folder / files.MOMENT, tensors, {"moment": json.dumps(about)})
        took = time.monotonic() - began
        self._next_save = time.monotonic() + max(MOMENT_SECONDS, took / MOMENT_SHARE)

    def _finish(self) -> dict[str, Any]:
        """Score the test clips once, with the weights that count, and write what remains of the trial."""
        network, valid = self.fit.network, self.fit.valid.split
        heard = self.feeds.open(self.settings, "test", self.fit.device)
        test = heard.split
        on_valid = Evaluation(self.fit.best_probabilities.numpy(), self.fit.progress.best_loss)
        on_test = evaluate(network, heard, self.leave_if_halted)
        said = ClipScores(
            tags=test.tags,
            protocol=protocol(self.settings, test),
            splits={"valid": _said(valid, on_valid), "test": _said(test, on_test)},
            losses={"valid": on_valid.loss, "test": on_test.loss},
        )
        resampled = resamples.of(said)
        self._sharing.wait()
        result = {
            "signature": self.settings.signature(),
            "network": self.settings.network,
            "best_epoch": self.fit.progress.best_epoch,
            "epochs": len(self.history),
            "micro_batch_size": self.fit.micro_batch_size,
            "seconds": sum(row["seconds"] for row in self.history),
            **scores.summary(said, resampled),
        }
        self._write_checkpoint(network, test, result)
        score_table.write(self.folder / files.SCORES, said)
        resamples.write(self.folder / files.RESAMPLES, resampled)
        files.write_json(self.folder / files.EPOCHS, self.history)
        files.write_json(self.folder / files.RESULT, result)
        self._note_throughput(result)
        files.remove_states(self.folder)
        return result

    def _note_throughput(self, result: dict[str, Any]) -> None:
        """For later plans; a disk that takes no more notes does not undo a training."""
        fit = self.fit
        cost = self.entry.cost(len(fit.valid.split.tags)).multiply_adds
        trained = fit.segments or len(fit.train)
        try:
            throughput.note(
                local_device(),
                self.entry.family,
                training=float(cost) * trained * result["epochs"],
                evaluation=float(cost) * len(fit.valid) * result["epochs"],
                seconds=result["seconds"] * (self.gpus or 1.0),
                size=cost,
                precision=fit.training.precision,
            )
        except OSError as error:
            if failures.is_storage_full(error):  # the next trial would not have room for more than notes
                raise

    def _write_checkpoint(self, network: nn.Module, test: Split, result: dict[str, Any]) -> None:
        card = zoo.Card.of(
            network,
            tags=test.tags,
            protocol=result["protocol"],
            scores={"valid": result["valid"], "test": result["test"]},
            lineage={
                **self.lineage,
                "signature": result["signature"],
                "settings": self.settings.to_json(),
                "micro_batch_size": result["micro_batch_size"],
                restored.HOW: restored.how_evaluated(str(self.fit.device)),
            },
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
    """What a score on these clips means; see search/scoring/protocol.py."""
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
