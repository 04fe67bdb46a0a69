"""Songs that come from a browser: taken into a temporary file while they stream, heard, and removed."""

from __future__ import annotations

import asyncio
import errno
import secrets
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboards.hearing import MOST_SECONDS, Heard, hear
from dashboards.jobs import BusyError, Jobs, Tell
from dashboards.models import Models
from datasets.words import command
from zoo import ZooError

MOST_BYTES = 200 * 1024**2
MOST_WAITING = 4  # songs that are being sent or wait, beside the one that is heard
MOST_KEPT = 20  # songs whose tags can still be asked for
SILENCE_SECONDS = 60.0  # after which a song that has stopped coming is given up


class TooLargeError(ZooError):
    """A file has more bytes than one may have."""


class Songs:
    """The songs of this server. models: what they are heard with. most_*: what a song may have."""

    def __init__(
        self, models: Models, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS
    ) -> None:
        self.models, self.most_bytes, self.most_seconds = models, most_bytes, most_seconds
        self.jobs = Jobs("songs", MOST_WAITING, MOST_KEPT)
        self._folder = tempfile.TemporaryDirectory(prefix="wavezoo-songs-", ignore_cleanup_errors=True)
        self._coming = 0

    @property
    def folder(self) -> Path:
        """Where songs lie until they have been heard."""
        return Path(self._folder.name)

    def close(self) -> None:
        """End what runs, and leave no file behind."""
        self.jobs.close()
        self._folder.cleanup()

    def routes(self) -> list[Route]:
        return [
            Route("/listen/songs", self.take, methods=["POST"]),
            Route("/listen/songs/{key}", self.tell, methods=["GET"]),
            Route("/listen/songs/{key}", self.drop, methods=["DELETE"]),
            Route("/listen/songs/{key}/tags.csv", self.as_csv, methods=["GET"]),
        ]

    async def take(self, request: Request) -> Response:
        """A song as the body of a request; its name and its model in the address. Answers with its key."""
        name, model = request.query_params.get("name", ""), request.query_params.get("model", "")
        try:
            key = await self._taken(request, name, model)
        except TooLargeError as error:
            return _refusal(str(error), 413, close=True)
        except BusyError as error:
            return _refusal(str(error), 503, close=True)
        except (TimeoutError, ClientDisconnect):
            return _refusal("the file has stopped coming", 408, close=True)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "the disk of the server is full" if full else "the server could not keep the file"
            return _refusal(why, 507, close=True)
        return JSONResponse({"key": key}, 202)

    async def _taken(self, request: Request, name: str, model: str) -> str:
        self._check_size(int(request.headers.get("content-length", "0")))
        if self._coming + self.jobs.waiting() >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} songs are waiting already; try again when they are done")
        key = secrets.token_urlsafe(16)
        file = self.folder / secrets.token_hex(8)  # nothing of the name that was sent
        self._coming += 1
        try:
            await self._write(request.stream(), file)
            self.jobs.submit(key, lambda tell: self._hear(file, name, model, tell), lambda: _remove(file))
        except BaseException:
            _remove(file)
            raise
        finally:
            self._coming -= 1
        return key

    async def _write(self, chunks: AsyncIterator[bytes], file: Path) -> None:
        size = 0
        with file.open("xb") as out:
            while True:
                chunk = await asyncio.wait_for(anext(chunks, None), SILENCE_SECONDS)
                if chunk is None:
                    return
                size += len(chunk)
                self._check_size(size)
                out.write(chunk)

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise TooLargeError(
                f"the file is larger than {self.most_bytes / 1024**2:.3g} MiB; give a smaller one, or use "
                f"{command('zoo', ['tag'])}"
            )

    def _hear(self, file: Path, name: str, model: str, tell: Tell) -> Heard:
        return hear(self.models.load(model), file, name, model, tell, self.most_seconds)

    async def tell(self, request: Request) -> Response:
        """How far a song is, and once it has been heard its tags."""
        job = self.jobs.find(request.path_params["key"])
        if job is None:
            return _refusal("this song is not known any more; choose it again", 404)
        told = {"state": job.state, "seconds": job.done, "before": self.jobs.before(job), "why": job.why}
        return JSONResponse({**told, "heard": job.result.record()} if job.state == "done" else told)

    async def as_csv(self, request: Request) -> Response:
        """The tags of a song as a file."""
        job = self.jobs.find(request.path_params["key"])
        if job is None or job.state != "done":
            return _refusal("this song is not known any more; choose it again", 404)
        headers = {"Content-Disposition": "attachment"}  # the page knows what to call it
        return Response(job.result.as_csv(), headers=headers, media_type="text/csv; charset=utf-8")

    async def drop(self, request: Request) -> Response:
        """Nobody waits for it any more."""
        self.jobs.drop(request.path_params["key"])
        return Response(status_code=204)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def _refusal(why: str, status: int, close: bool = False) -> Response:
    """close: what the other side still sends is not read."""
    return JSONResponse({"why": why}, status, {"Connection": "close"} if close else None)
