"""Where trials live for machines that share no disk: a bucket that speaks S3, or a folder that all of them see.

A trial's folder stays on the disk of the machine that trains it, and a copy of it goes into the storage:

    trials/<signature>/<SHA-256>-<name>   a file of the folder
    trials/<signature>/trial.json         which of them make up the trial, and how far it has come

A file's name changes with what is in it, and `trial.json` is written last: what it names is there and whole at any
moment, whoever is killed in the middle of copying. Nothing in a bucket keeps two machines from training one trial at
once; both come to the same weights, and the copy that is further stays.

Credentials come from the environment or AWS's own files, never from the words; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL
names a server other than Amazon's.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from datasets.whole import written_whole
from search.errors import SearchError
from search.failures import StorageAway

S3 = "s3://"
ABOUT = "trial.json"
A_FILE = re.compile(r"(checkpoint/)?[A-Za-z0-9][A-Za-z0-9_.-]*")
PATIENCE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 4.0
CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 5.0, 60.0, 2

Answer = TypeVar("Answer")


class StorageError(SearchError):
    """What lies in the storage can't be used."""


@dataclass(frozen=True)
class About:
    """How far a trial has come, and the SHA-256 of each of its files by its name in the folder."""

    ended: bool
    epochs: int
    files: Mapping[str, str]

    @property
    def progress(self) -> tuple[bool, int]:
        """Larger for the copy that is further."""
        return (self.ended, self.epochs)


@lru_cache(maxsize=4)
def at(address: str, endpoint: str | None) -> "Storage":
    """The storage at `s3://BUCKET/PREFIX` or at an absolute path. endpoint: the URL of a server other than Amazon's."""
    if not address.startswith(S3):
        return Storage(address, fs.LocalFileSystem(), address)
    client = fs.S3FileSystem(
        endpoint_override=endpoint,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
    return Storage(address, client, address.removeprefix(S3))


def endpoint() -> str | None:
    """The S3 server that the environment names, as AWS's own programs read it."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


class Storage:
    """Copies of trial folders. Once it has answered, it may be away for PATIENCE_SECONDS before anyone complains."""

    def __init__(self, address: str, files: fs.FileSystem, root: str) -> None:
        self.address, self._fs, self._root = address, files, root.rstrip("/")
        self._met = False

    def check(self) -> None:
        """Find out before anything is trained whether the storage can be written to.

        raises: StorageAway if not.
        """
        probe = f"{self._root}/probe"
        self._try(False, self._write, probe, b"")
        self._try(False, self._fs.delete_file, probe)

    def about(self, key: str, patient: bool = True) -> About | None:
        """What is known of a trial; None if the storage has nothing of it.

        patient: whether to wait for a storage that is away.
        raises: StorageAway if the storage can't be reached, StorageError if the record is damaged.
        """
        data = self._try(patient, self._read, self._path(key, ABOUT))
        if data is None:
            return None
        try:
            about = About(**json.loads(data))
            if not all(A_FILE.fullmatch(name) for name in about.files):
                raise ValueError("it names files that no trial has")
        except (TypeError, ValueError, AttributeError) as error:
            raise self._damaged(key, str(error)) from error
        return about

    def push(self, key: str, folder: Path, ended: bool, epochs: int, patient: bool) -> None:
        """Copy a trial's folder into the storage, unless what lies there is further.

        patient: whether to wait for a storage that is away. raises: StorageAway if it can't be reached.
        """
        known = self.about(key, patient)
        if known is not None and known.progress > (ended, epochs):
            return
        before = {} if known is None else known.files
        data = {name: (folder / name).read_bytes() for name in _files(folder)}
        about = About(ended, epochs, {name: hashlib.sha256(part).hexdigest() for name, part in data.items()})
        for name, sha in about.files.items():
            if before.get(name) != sha:
                self._try(patient, self._write, self._path(key, _stored(name, sha)), data[name])
        self._try(patient, self._write, self._path(key, ABOUT), json.dumps(asdict(about)).encode())
        for name, sha in before.items() - about.files.items():  # nobody reads them any more
            with contextlib.suppress(OSError):
                self._fs.delete_file(self._path(key, _stored(name, sha)))

    def fetch(
        self, key: str, folder: Path, than: tuple[bool, int], names: tuple[str, ...], patient: bool = True
    ) -> About | None:
        """Bring files of a trial into its folder if the storage is further `than` that; the last name comes last.

        names: of the files wanted, those that the trial does not have included; () for all of them.
        patient: whether to wait for a storage that is away.
        returns: what the storage knows, or None where it knows nothing or is not further.
        """
        # Whoever trains it may write the next state meanwhile, and take away the one before
        for _ in range(3):
            about = self.about(key, patient)
            if about is None or about.progress <= than:
                return None
            if self._fetched(key, folder, about, names, patient):
                return about
        raise self._damaged(key, "files that it names are missing")

    def _fetched(self, key: str, folder: Path, about: About, names: tuple[str, ...], patient: bool) -> bool:
        """Whether all that was wanted could be brought."""
        for name in sorted(set(about.files) & set(names) if names else about.files, key=_result_last):
            data = self._try(patient, self._read, self._path(key, _stored(name, about.files[name])))
            if data is None:
                return False
            if hashlib.sha256(data).hexdigest() != about.files[name]:
                raise self._damaged(key, f"{name} is not what was written")
            # Whoever begins to train it on this machine takes half a file for one of a killed writer, and removes it
            try:
                with written_whole(folder / name) as part:
                    part.write_bytes(data)
            except FileNotFoundError:
                return False
        return True

    def _path(self, key: str, name: str) -> str:
        return f"{self._root}/trials/{key}/{name}"

    def _read(self, path: str) -> bytes | None:
        try:
            with self._fs.open_input_stream(path) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def _write(self, path: str, data: bytes) -> None:
        if isinstance(self._fs, fs.LocalFileSystem):
            with written_whole(Path(path)) as part:
                part.write_bytes(data)
            return
        with self._fs.open_output_stream(path) as file:  # S3 shows it when it is closed, and not before
            file.write(data)

    def _try(self, patient: bool, act: Callable[..., Answer], *given: Any) -> Answer:
        """Do something with the storage; again and again for a while if patient."""
        deadline, pause = time.monotonic() + PATIENCE_SECONDS * (patient and self._met), 0.25
        while True:
            try:
                answer = act(*given)
            except OSError as error:
                if time.monotonic() >= deadline:
                    why = " ".join(str(error).split())
                    raise StorageAway(f"can't use cluster.storage={self.address}: {why}") from error
            else:
                self._met = True
                return answer
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _damaged(self, key: str, why: str) -> StorageError:
        return StorageError(
            f"{self.address}/trials/{key} is damaged ({why}); remove it to train that network again"
        )


def _files(folder: Path) -> Iterator[str]:
    """The files of a trial's folder that belong to the trial, by their names in it."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix in (".json", ".safetensors", ".parquet") and A_FILE.fullmatch(name):
            yield name


def _stored(name: str, sha: str) -> str:
    return f"{sha}-{name.replace('/', '-')}"


def _result_last(name: str) -> tuple[bool, str]:
    return (name == "result.json", name)
