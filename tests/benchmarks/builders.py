"""The building benchmark itself: each way in a process of its own, and their table."""

import datetime
import importlib.util
import multiprocessing
import os
import platform
import resource
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from datasets.audio import decode
from datasets.progress import progress
from datasets.recipe import PlannedClip
from datasets.shards import Task, make
from datasets.workers import keep_freed_memory

RATE_HZ, CLIP_SAMPLES = 22_050, 641_655
SECONDS = CLIP_SAMPLES / RATE_HZ


@dataclass(frozen=True)
class Rate:
    """Clips per second, clips per second of processor time, bytes written for each."""

    wall: float
    core: float
    n_bytes: float


def ours(files: Sequence[Path], folder: Path) -> None:
    """A shard of all the files, as a build makes it."""
    clips = tuple(PlannedClip(str(n), str(file), file.stat().st_size, {}) for n, file in enumerate(files))
    make(Task(folder, 0, "benchmark", "/", clips, _read, RATE_HZ, CLIP_SAMPLES))


def librosa_load(files: Sequence[Path], folder: Path) -> None:
    """librosa.load and one float32 .npy per clip."""
    import librosa

    for number, file in enumerate(files):
        wave, _ = librosa.load(file, sr=RATE_HZ, duration=SECONDS)
        np.save(folder / f"{number}.npy", wave)


def librosa_style(files: Sequence[Path], folder: Path) -> None:
    """The steps of librosa.load without librosa, and one float32 .npy per clip."""
    import soundfile
    import soxr

    for number, file in enumerate(files):
        with soundfile.SoundFile(file) as sound:
            channels = sound.read(int(SECONDS * sound.samplerate), dtype="float32", always_2d=True).T
            mono = np.mean(channels, axis=0)
            wave = soxr.resample(mono, sound.samplerate, RATE_HZ, quality="HQ")
        np.save(folder / f"{number}.npy", wave)


def ffmpeg(files: Sequence[Path], folder: Path) -> None:
    """One ffmpeg process per file, to wav."""
    for number, file in enumerate(files):
        cut = ["-t", str(SECONDS), "-ac", "1", "-ar", str(RATE_HZ), "-threads", "1"]
        words = [
            "ffmpeg",
            "-nostdin",
            "-loglevel",
            "error",
            "-i",
            str(file),
            *cut,
            str(folder / f"{number}.wav"),
        ]
        subprocess.run(words, check=True)


def _read(source: str, clip: PlannedClip, rate_hz: int, max_seconds: float) -> np.ndarray:
    return decode(clip.path, rate_hz, max_seconds)


WAYS = {
    "ours: one shard of int16": ours,
    "librosa.load, one float32 .npy per clip": librosa_load,
    "its steps alone (soundfile, soxr), one float32 .npy per clip": librosa_style,
    "one ffmpeg process per file, to wav": ffmpeg,
}
MISSING = {
    librosa_load: "librosa is not installed" if importlib.util.find_spec("librosa") is None else "",
    ffmpeg: "ffmpeg is not installed" if shutil.which("ffmpeg") is None else "",
}
# What all are compared with: the first of these that can be measured.
BASES = {librosa_load: "librosa.load", librosa_style: "its steps"}


def benchmark(
    files: Sequence[Path],
    rounds: int,
    folder: str | None,
    command: Sequence[str],
    say: Callable[[str], None] = print,
) -> None:
    """Measure and say the tables. raises: OSError of the disk."""
    say(f"{datetime.date.today()}, {_machine()}; load before: {_load()}\n")
    say(f"    python -m {shlex.join(command)}")
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as place:
        as_they_are = f"{len(files)} clips as they are ({_kind(files[0])})"
        loud = stereo(files, Path(place) / "stereo")
        kinds = {as_they_are: files, f"the same as {_kind(loud[0])}": loud}
        for kind, some in kinds.items():
            rates = measure(some, rounds, Path(place), list(available()))
            say(f"\n{kind}, medians of {rounds} rounds; ratios are of processor seconds:\n")
            say(table(rates))
    say(f"\nload after: {_load()}")


def available() -> dict[str, Callable]:
    """The ways that can be measured here."""
    return {title: way for title, way in WAYS.items() if not MISSING.get(way)}


def measure(files: Sequence[Path], rounds: int, place: Path, titles: Sequence[str]) -> dict[str, list[Rate]]:
    """The rates of each way in each round; the first time through, which loads the libraries, is left out."""
    rates: dict[str, list[Rate]] = {title: [] for title in titles}
    spawn = multiprocessing.get_context("spawn")
    pools = {
        title: ProcessPoolExecutor(1, spawn, initializer=_prepare, initargs=(title,)) for title in titles
    }
    try:
        with progress("building", (1 + rounds) * len(titles), "measurements") as done:
            for number in range(1 + rounds):
                for title, pool in pools.items():
                    rate = pool.submit(once, title, files if number else files[:2], place).result()
                    rates[title] += [rate] if number else []
                    done(1)
    finally:
        for pool in pools.values():
            pool.shutdown()
    return rates


def once(title: str, files: Sequence[Path], place: Path) -> Rate:
    """One way once, in this process."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        wall, core = time.perf_counter(), _core_seconds()
        WAYS[title](files, Path(folder))
        core, wall = _core_seconds() - core, time.perf_counter() - wall
        n_bytes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return Rate(len(files) / wall, len(files) / core, n_bytes / len(files))


def table(rates: dict[str, list[Rate]]) -> str:
    """Markdown of the medians; ratios are taken within each round: there the machine was equally busy."""
    against = next(title for title, way in WAYS.items() if way in BASES and title in rates)
    lines = [
        f"| way | clips/s | per core-second | MB per clip | times {BASES[WAYS[against]]} |",
        "| --- |" + " ---: |" * 4,
    ]
    for title, way in WAYS.items():
        if title not in rates:
            lines.append(f"| {title} | not measured: {MISSING[way]} | | | |")
            continue
        ratio = median(mine.core / base.core for mine, base in zip(rates[title], rates[against], strict=True))
        wall, core, n_bytes = (
            median(getattr(rate, name) for rate in rates[title]) for name in ("wall", "core", "n_bytes")
        )
        lines.append(f"| {title} | {wall:.1f} | {core:.1f} | {n_bytes / 1e6:.2f} | {ratio:.2f} |")
    return "\n".join(lines)


def stereo(files: Sequence[Path], folder: Path) -> list[Path]:
    """The files as the Million Song Dataset's clips are: 44.1 kHz stereo mp3."""
    import soundfile

    folder.mkdir()
    made = []
    for number, file in enumerate(files):
        wave = decode(file, 44_100, SECONDS)
        made.append(folder / f"{number}.mp3")
        channels = np.stack([wave, np.roll(wave, 441)], axis=1) / 2
        soundfile.write(
            made[-1], channels, 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.6
        )
    return made


def _prepare(title: str) -> None:
    if WAYS[title] is ours:
        keep_freed_memory()  # as the workers of a build do


def _core_seconds() -> float:
    """Of this process and of those it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _kind(file: Path) -> str:
    import soundfile

    about = soundfile.info(file)
    channels = "mono" if about.channels == 1 else "stereo"
    return f"{about.samplerate:,} Hz {channels} mp3 of {file.stat().st_size * 8 / about.duration / 1000:.0f} kb/s"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or 'unknown processor'}"


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
