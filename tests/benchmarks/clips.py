"""The clips that every way of loading serves: rendered once, written in the form that each way reads.

mp3/     as MagnaTagATune comes. What decoding them gives is the music; all other forms hold these very samples.
flac/    the same without loss, which can be entered anywhere.
npy/     one float32 array per clip.
store/   this project's shards and their index; store-20x/ lists the same shards twenty times.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets import cards, store, synthesis
from datasets.split import Split

RATE_HZ = 22_050
CLIP_SAMPLES = 641_655  # 29.1 s
SEGMENT_SAMPLES = 59_049
CLIPS_PER_SHARD = 64
# Different pieces of music: writing an mp3 takes 30 times as long as reading one, so clips share pieces.
# Each is a file of its own all the same, and caches know files.
PIECES = 20
NOTE_SAMPLES = 5_512
CONVENTION, PLAN = "all", "benchmark"


@dataclass(frozen=True)
class Clips:
    """Where the clips lie. samples: of each clip."""

    folder: Path
    count: int
    samples: int

    def files(self, kind: str) -> list[Path]:
        """The files of a kind (mp3, flac, npy: one for each clip; store: its shards), in their order."""
        if kind == "store":
            return sorted(self.folder.glob("store/*.arrow"))
        return [self.folder / kind / f"{clip:05}.{kind}" for clip in range(self.count)]

    def split(self, copies: int = 1) -> Split:
        """The store, opened as training opens it."""
        return opened(self.folder / store_name(copies))


def store_name(copies: int) -> str:
    """Folder of the store that lists every shard so many times."""
    return "store" if copies == 1 else f"store-{copies}x"


def opened(folder: Path) -> Split:
    """A store of these clips, whole, on the CPU."""
    file = folder / cards.CARD_FILE
    about = cards.parse(file.read_text(encoding="utf-8"), file)
    return Split(about, folder, "train", SEGMENT_SAMPLES, CONVENTION)


def render(
    folder: Path, count: int, done: Callable[[int], None], samples: int = CLIP_SAMPLES, copies: int = 20
) -> Clips:
    """Write `count` clips in all forms; `done` hears of each clip. Takes 6.5 MB of disk a clip of 29.1 s."""
    clips = Clips(folder, count, samples)
    for kind in ("mp3", "flac", "npy", "store"):
        (folder / kind).mkdir(parents=True)
    pieces: list[np.ndarray] = []
    for clip in range(count):
        if clip < PIECES:
            pieces.append(_write_mp3(clips.files("mp3")[clip], _piece(clip, samples)))
        else:
            _copy(clips.files("mp3")[clip % PIECES], clips.files("mp3")[clip])
        _write_forms(clips, clip, pieces[clip % PIECES])
        done(1)
    shards = _write_shards(clips, pieces)
    _write_index(folder / store_name(1), shards, clips, copies=1)
    _link(clips, shards, copies)
    return clips


def _piece(seed: int, samples: int) -> np.ndarray:
    """(samples,) int16: a melody of two instruments, and some noise as a record has."""
    random = np.random.default_rng(seed)
    steps = random.integers(-24, 12, -(-samples // NOTE_SAMPLES))
    frequency_hz = np.repeat(440 * 2 ** (steps / 12), NOTE_SAMPLES)[:samples]
    wave = synthesis.level(synthesis.voice(synthesis.TIMBRES["plucked"], frequency_hz, NOTE_SAMPLES), -20)
    wave += synthesis.level(
        synthesis.voice(synthesis.TIMBRES["strings"], frequency_hz / 2, NOTE_SAMPLES), -23
    )
    wave += synthesis.level(random.standard_normal(samples), -40)
    return np.clip(np.round(wave * 32768), -32768, 32767).astype(np.int16)


def _write_mp3(file: Path, wave: np.ndarray) -> np.ndarray:
    """Write it and give back what a decoder makes of it."""
    import soundfile

    soundfile.write(file, wave, RATE_HZ, format="MP3")
    _to_disk(file)
    decoded, _ = soundfile.read(file, dtype="int16")
    if len(decoded) != len(wave):
        raise ValueError(
            f"{len(wave)} samples became {len(decoded)} in mp3: this libsndfile can't serve here"
        )
    return decoded


def _write_forms(clips: Clips, clip: int, wave: np.ndarray) -> None:
    import soundfile

    flac, npy = clips.files("flac")[clip], clips.files("npy")[clip]
    if clip < PIECES:
        soundfile.write(flac, wave, RATE_HZ, subtype="PCM_16")
    else:
        _copy(clips.files("flac")[clip % PIECES], flac)
    np.save(npy, wave.astype(np.float32) / 32768)
    _to_disk(flac)
    _to_disk(npy)


def _write_shards(clips: Clips, pieces: list[np.ndarray]) -> list[cards.StoredFile]:
    folder = clips.folder / store_name(1)
    written: list[cards.StoredFile] = []
    for first in range(0, clips.count, CLIPS_PER_SHARD):
        held = range(first, min(first + CLIPS_PER_SHARD, clips.count))
        values = np.concatenate([pieces[clip % PIECES] for clip in held])
        offsets = np.arange(len(held) + 1) * clips.samples
        file = folder / f"shard-{len(written):05}.arrow"
        metadata = {"plan": PLAN, "skipped": "[]"}
        store.write_shard(file, values, offsets, [str(clip) for clip in held], [0] * len(held), metadata)
        _to_disk(file)
        written.append(store.stored(file, folder))
    return written


def _link(clips: Clips, shards: list[cards.StoredFile], copies: int) -> None:
    """The same shards under `copies` names each (hard links), and an index of as many times the clips."""
    folder = clips.folder / store_name(copies)
    linked: list[cards.StoredFile] = []
    folder.mkdir()
    for _ in range(copies):
        for shard in shards:
            name = f"shard-{len(linked):05}.arrow"
            os.link(clips.folder / store_name(1) / shard.file, folder / name)
            linked.append(cards.StoredFile(name, shard.bytes, shard.sha256))
    _write_index(folder, linked, clips, copies)


def _write_index(folder: Path, shards: list[cards.StoredFile], clips: Clips, copies: int) -> None:
    """Index and card, as datasets.build writes them."""
    count, once = clips.count * copies, np.arange(clips.count)
    shard = np.add.outer(np.arange(copies) * (len(shards) // copies), once // CLIPS_PER_SHARD).reshape(-1)
    columns = {
        "clip_id": [str(clip) for clip in range(count)],
        "artist": [f"artist {clip // 5}" for clip in range(count)],
        f"split:{CONVENTION}": ["train"] * count,
        "shard": shard.tolist(),
        "row": np.tile(once % CLIPS_PER_SHARD, copies).tolist(),
    }
    tags = tuple(f"tag {number}" for number in range(50))
    labels = np.random.default_rng(0).integers(0, 2, (count, len(tags)), dtype=np.uint8)
    file = folder / "index.data"
    store.write_index(file, columns, labels, {"plan": PLAN})
    card = _card(tags, shards, store.stored(file, folder), count, clips.samples)
    (folder / cards.CARD_FILE).write_text(card.to_json(), encoding="utf-8")


def _card(
    tags: tuple[str, ...], shards: list[cards.StoredFile], index: cards.StoredFile, count: int, samples: int
) -> cards.Card:
    return cards.Card(
        name="benchmark",
        recipe="benchmark",
        fingerprint=hashlib.sha256(index.sha256.encode()).hexdigest()[:16],
        sample_rate_hz=RATE_HZ,
        tags=tags,
        tag_hash=cards.tag_hash(tags),
        conventions={CONVENTION: {"train": count, "valid": 0, "test": 0}},
        default_convention=CONVENTION,
        segmented_samples=None,
        clip_samples=samples,
        hours=count * samples / RATE_HZ / 3600,
        licence="rendered here",
        citation="",
        shards=tuple(shards),
        index=index,
        plan_id=PLAN,
        version="1",
        store_format=1,
        clips=count,
        clipped_clips=0,
        skipped={},
    )


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    _to_disk(target)


def _to_disk(file: Path) -> None:
    """A page that is not on the disk yet can't be dropped from memory."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
