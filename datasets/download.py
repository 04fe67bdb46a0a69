"""One file over HTTP, resumed where it broke off, checked before it gets its name. Standard library only."""

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from datasets.errors import DatasetError
from datasets.progress import progress

# So often in a row may nothing be gained; and so often in all, however little is gained each time.
FRUITLESS, MOST_ATTEMPTS = 5, 200
TIMEOUT_S = 60
BLOCK_BYTES = 1 << 16
MOST_BYTES = 8 * 2**30  # of a file of which nobody says how long it is
MB = 1_000_000
PASSING = {408, 425, 429, 500, 502, 503, 504}
CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded. bytes, sha256: as published, None and empty where nothing is."""

    url: str
    sha256: str = ""
    bytes: int | None = None


class BrokeOff(Exception):
    """An attempt failed in a way that another may not."""


def fetch(remote: Remote, file: Path, wait: Callable[[float], None] = time.sleep) -> None:
    """Download into `file`, going on with `file`.part if an earlier attempt left one.

    wait:   called with the seconds before another attempt: 1, 2, 4, 8 after fruitless ones.
    raises: DatasetError in one line; what has been downloaded stays unless it was wrong.
    """
    part, best, fruitless = _part(file), 0, 0
    for _ in range(MOST_ATTEMPTS):
        try:
            resumed = _attempt(remote, part)
            _check(remote, part, resumed)
            part.replace(file)
            _mark(part).unlink(missing_ok=True)
            return
        except BrokeOff as problem:
            best, gained = max(best, _size(part)), _size(part) > best
            fruitless, last = (0 if gained else fruitless + 1), problem
        if fruitless == FRUITLESS:
            raise DatasetError(f"{remote.url} {last}, {FRUITLESS} times in a row; the same command goes on")
        wait(2.0 ** max(0, fruitless - 1))
    raise DatasetError(f"{remote.url} broke off {MOST_ATTEMPTS} times; the same command goes on")


def check_url(url: str) -> str:
    """The address of a folder, ending in a slash; DatasetError if it is none of http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DatasetError(f"url={url}: give the http or https address of the folder that has the files")
    if parts.username or parts.query or parts.fragment:
        raise DatasetError(f"url: give a plain address without name, password, ? or # ({parts.hostname})")
    return url if url.endswith("/") else f"{url}/"


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _mark(part: Path) -> Path:
    """Beside a part: the server's word for the version of the file that it began with."""
    return part.with_name(f"{part.name}.version")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)


def _attempt(remote: Remote, part: Path) -> bool:
    """One request, until the part is as long as the server says the file is; whether it went on with a part."""
    have = _size(part)
    with _answer(remote, part, have) as answer:
        if answer is None:
            return True
        start, total = _announced(remote, answer, part, have)
        if total is not None and shutil.disk_usage(part.parent).free < total - start:
            raise _no_space(part, total - start)
        if not start:
            _remember_version(part, answer.headers)
        with progress(f"downloading {part.name.removesuffix('.part')}", (total or 0) // MB, "MB") as done:
            _copy(answer, part, start, total or remote.bytes or MOST_BYTES, done if total else _nobody)
    found, wanted = _size(part), total or remote.bytes or MOST_BYTES
    if found > wanted:
        _forget(part)
        raise DatasetError(f"{remote.url} sends more than {wanted:,} bytes; nothing of it was kept")
    if total is not None and found < total:
        raise BrokeOff(f"broke off after {found:,} of {total:,} bytes")
    return start > 0


@contextmanager
def _answer(remote: Remote, part: Path, have: int) -> Iterator["http.client.HTTPResponse | None"]:
    """The server's answer, None if it says that the part is the whole file already."""
    headers = {"User-Agent": "wavezoo", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _mark(part).is_file():
            headers["If-Range"] = _mark(part).read_text(encoding="ascii").strip()
    try:
        request = urllib.request.Request(remote.url, headers=headers)
        answer = _opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as problem:
        with problem:
            if problem.code != 416:
                raise _refused(remote, problem) from None
            if problem.headers.get("Content-Range") != f"bytes */{have}":
                _forget(part)
                raise BrokeOff("has no such part any more") from None
            yield None
            return
    except urllib.error.URLError as problem:
        if isinstance(problem.reason, ssl.SSLCertVerificationError):
            raise DatasetError(
                f"{remote.url}: its certificate is not valid ({problem.reason.verify_message})"
            ) from None
        raise BrokeOff(f"can't be reached ({problem.reason})") from problem
    except (OSError, http.client.HTTPException) as problem:
        raise BrokeOff(f"can't be reached ({problem or type(problem).__name__})") from problem
    with answer:
        yield answer


def _refused(remote: Remote, problem: urllib.error.HTTPError) -> Exception:
    said = f"answers {problem.code} {str(problem.reason).splitlines()[0] if problem.reason else ''}".strip()
    if problem.code in PASSING:
        return BrokeOff(said)
    return DatasetError(f"{remote.url} {said}; is the address right? (url=...)")


def _announced(
    remote: Remote, answer: http.client.HTTPResponse, part: Path, have: int
) -> tuple[int, int | None]:
    """First byte that the answer has, and how many the whole file has, None if that isn't said."""
    if answer.headers.get_content_type() == "text/html":
        raise DatasetError(
            f"{remote.url} answers with a web page, not with the file; is the address right? (url=...)"
        )
    if answer.status == 206:
        found = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != have:
            _forget(part)
            raise BrokeOff("answered with another part than asked for")
        start, total = have, None if found[3] == "*" else int(found[3])
    elif answer.status == 200:
        length = answer.headers.get("Content-Length", "")
        start, total = 0, int(length) if length.isdecimal() else None
    else:
        raise DatasetError(f"{remote.url} answers {answer.status} {answer.reason}; wanted the file")
    if None not in (remote.bytes, total) and total != remote.bytes:
        raise DatasetError(f"{remote.url} announces {total:,} bytes; published are {remote.bytes:,}")
    return start, total


def _remember_version(part: Path, headers: Message) -> None:
    part.unlink(missing_ok=True)
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    # A weak mark says that two files mean the same, not that their bytes are.
    if version.isascii() and version.isprintable() and version and not version.startswith("W/"):
        _mark(part).write_text(version, encoding="ascii")
    else:
        _mark(part).unlink(missing_ok=True)


def _nobody(_: int) -> None:
    pass


def _copy(
    answer: http.client.HTTPResponse, part: Path, start: int, most: int, done: Callable[[int], None]
) -> None:
    """Write what comes behind what is there; up to a block more than `most`, for a server may never end."""
    at = start
    done(at // MB)
    with part.open("ab" if start else "wb") as stream:
        while at <= most and (block := _read(answer, at)):
            _put(stream, block, part)
            done((at + len(block)) // MB - at // MB)
            at += len(block)
        _put(stream, b"", part)
        os.fsync(stream.fileno())


def _read(answer: http.client.HTTPResponse, at: int) -> bytes:
    try:
        # Whatever has arrived: a block that breaks off in the middle would be lost as a whole.
        return answer.read1(BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as problem:
        raise BrokeOff(f"broke off after {at:,} bytes ({problem or type(problem).__name__})") from problem


def _put(stream: IO[bytes], block: bytes, part: Path) -> None:
    try:
        stream.write(block)
        if not block:
            stream.flush()
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(part, len(block)) from problem
        raise


def _no_space(part: Path, n_bytes: int) -> DatasetError:
    return DatasetError(
        f"no space left for {part}: {n_bytes / MB:,.1f} MB more are needed; free so much, the same command goes on"
    )


def _check(remote: Remote, part: Path, resumed: bool) -> None:
    if remote.bytes is not None and _size(part) < remote.bytes:
        raise BrokeOff(f"ended after {_size(part):,} of {remote.bytes:,} bytes")
    if not remote.sha256 or (found := sha256_of(part)) == remote.sha256:
        return
    _forget(part)
    if resumed:  # perhaps the earlier piece was of another file: once more from the beginning
        raise BrokeOff("has another checksum after going on with an earlier part")
    raise DatasetError(
        f"{remote.url} has sha256 {found}; published is {remote.sha256}: another file, of which nothing was kept"
    )


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows a server elsewhere, but not out of the web, and not from https to http."""

    def redirect_request(  # type: ignore[no-untyped-def] # as the standard library calls it
        self, req, fp, code, msg, headers, newurl
    ):
        scheme, before = urlsplit(newurl).scheme, urlsplit(req.full_url).scheme
        if scheme not in ("http", "https") or (before, scheme) == ("https", "http"):
            fp.close()
            raise DatasetError(
                f"{req.full_url} leads to {newurl}; only http and https are followed, never back to http"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What opens http and https alone: the usual one also knows file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _OnlyWeb(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
