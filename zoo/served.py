"""What MLflow loads and serves: audio in, the probability of each tag out.

A checkpoint beside `model_file()` is a model of MLflow's, of the flavor "python_function":

    mlflow.pyfunc.load_model("models:/demo-table2@champion").predict([{"samples": wave, "rate": 44100}])
    mlflow models serve --model-uri models:/demo-table2@champion --env-manager local

MLflow then calls `_load_pyfunc`, which reads safetensors and the card as `zoo.load` does: nothing is unpickled, and no
other file of the folder is opened.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ZooError
from zoo.trained.tagger import Tagger, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FOLDER", "MODEL_FILE", "Served", "model_file"]

MODEL_FILE = "MLmodel"
FOLDER = "WAVEZOO_SERVE_FOLDER"  # paths of files are taken below it only
MOST_CLIPS, MOST_SECONDS = 256, 3600
SLOWEST_HZ, FASTEST_HZ, MOST_CHANNELS = 1_000, 768_000, 32
LOUDEST = 16.0  # beyond it samples are no fractions of full scale but the whole numbers of a file
FORM = 'give {"samples": [...], "rate": 44100} or {"path": "song.mp3"} for each clip'


def model_file() -> str:
    """The text of the file MLmodel. It is JSON, which YAML includes."""
    flavor = {"loader_module": __name__, "python_version": platform.python_version()}
    return json.dumps({"flavors": {"python_function": flavor}}, indent=1) + "\n"


def _load_pyfunc(path: str) -> Served:
    """MLflow's door: the model of the checkpoint in this folder."""
    return Served(load(path))


class Served:
    """A tagger as MLflow asks for one."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, float]]:
        """The probability of each tag, clip by clip.

        model_input: a clip, a list of clips, or a table with a row for each. A clip is a mapping, with
                     "samples": (samples,) or (samples, channels), full scale is 1, and "rate": in Hz; or with
                     "path": of an audio file below the folder that WAVEZOO_SERVE_FOLDER names. A text is a path.
        params:      none are known.
        returns:     {tag: probability} for each.
        raises:      MlflowException, which a server answers with status 400: one line about the first clip that is
                     refused.
        """
        from mlflow.exceptions import MlflowException

        number = 0
        try:
            clips = _clips(model_input)
            found = []
            for number, clip in enumerate(clips, 1):  # noqa: B007  (told when a clip is refused)
                found.append(self._tag(clip))
            return found
        except (ValueError, TypeError, OSError, MemoryError, RuntimeError) as error:
            reason = (str(error).splitlines() or ["out of memory"])[0]
            where = f"clip {number}: " if number else ""
            raise MlflowException.invalid_parameter_value(f"{where}{reason}") from None

    def _tag(self, clip: Mapping[str, Any]) -> dict[str, float]:
        if "path" in clip:
            return self._tag_file(str(clip["path"]))
        wave, rate_hz = _samples(clip["samples"]), _rate(clip.get("rate"))
        if len(wave) > MOST_SECONDS * rate_hz:
            raise ZooError(
                f"{len(wave)} samples at {rate_hz} Hz are more than {MOST_SECONDS} s; send them in parts"
            )
        from datasets.audio import resample

        return self.tagger.named(self.tagger.score(resample(wave, rate_hz, self.tagger.sample_rate_hz)))

    def _tag_file(self, given: str) -> dict[str, float]:
        if not (name := os.environ.get(FOLDER)):
            raise ZooError(
                f"paths are not taken here: set {FOLDER} to the folder with the audio, or send samples"
            )
        folder = Path(name).resolve()
        try:
            path = (folder / given).resolve()  # with all links followed
        except RuntimeError as error:  # pathlib's, with the whole path
            raise ZooError(f"{given[:200]!r} is a link that leads back to itself") from error
        if folder not in path.parents:
            raise ZooError(f"{given[:200]!r} leads out of the folder that is served")
        try:
            return self.tagger(path)
        except ValueError as error:
            raise ZooError(str(error).replace(f"{folder}{os.sep}", "")) from error
        except OSError as error:  # its own words name the place of the folder
            raise ZooError(f"{given[:200]!r} can't be read: {error.strerror}") from error


def _clips(model_input: Any) -> Sequence[Mapping[str, Any]]:
    """The clips of whatever form MLflow passes on: text, a mapping, a list or array of them, a table of pandas."""
    if hasattr(model_input, "to_dict") and hasattr(model_input, "columns"):
        model_input = model_input.to_dict("records")
    rows: Iterable[Any]
    if isinstance(model_input, str | Mapping):
        rows = [model_input]
    elif isinstance(model_input, list | tuple) or (isinstance(model_input, np.ndarray) and model_input.ndim):
        rows = model_input
    else:
        raise ZooError(f"a {type(model_input).__name__} is no clip; {FORM}")
    clips = [_clip(row) for row in rows]
    if not 1 <= len(clips) <= MOST_CLIPS:
        raise ZooError(f"{len(clips)} clips were sent; from 1 to {MOST_CLIPS} are taken at once")
    return clips


def _clip(row: Any) -> Mapping[str, Any]:
    if isinstance(row, str):
        return {"path": row}
    if not isinstance(row, Mapping):
        raise ZooError(f"a {type(row).__name__} is no clip; {FORM}")
    there = {str(key): value for key, value in row.items() if not _is_missing(value)}
    if ("path" in there) == ("samples" in there) or not set(there) <= {"path", "samples", "rate"}:
        raise ZooError(f"a clip has {', '.join(map(repr, list(there)[:5])) or 'nothing'}; {FORM}"[:400])
    return there


def _is_missing(value: Any) -> bool:
    """Whether a table has nothing there."""
    return value is None or (isinstance(value, float) and np.isnan(value))


def _samples(given: Any) -> NDArray[np.float32]:
    """(samples,), the mean of the channels."""
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused below
        try:
            wave = np.asarray(given, dtype=np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise ZooError("samples are no list of numbers") from error
        if wave.ndim == 2 and 0 < wave.shape[1] <= MOST_CHANNELS:
            wave = wave.mean(axis=1, dtype=np.float32)
    if wave.ndim != 1 or not wave.size:
        raise ZooError(f"samples have shape {wave.shape}; (samples,) or (samples, channels) is wanted")
    if not np.isfinite(wave).all():
        raise ZooError("samples hold values that are not numbers")
    if (loudest := float(np.abs(wave).max())) > LOUDEST:
        raise ZooError(f"samples reach {loudest:g}, and full scale is 1; divide those of 16 bits by 32768")
    return wave


def _rate(given: Any) -> int:
    try:
        rate_hz = float(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise ZooError('a clip of samples needs its rate in Hz, as "rate": 44100') from error
    if rate_hz != rate_hz // 1 or not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise ZooError(f"rate {rate_hz:g} is no whole number of Hz from {SLOWEST_HZ} to {FASTEST_HZ}")
    return int(rate_hz)
