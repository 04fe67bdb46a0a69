"""An HTTP server that does, request by request, whatever a test wants a server to do wrong."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Act = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `files`; each request first takes the next of its `acts`, if one is left."""

    server: "Server"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        act = self.server.acts.pop(0) if self.server.acts else well
        act(self, self.server.files.get(self.path, b""))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        """Send `body` under a Content-Length that need not be its own; -1 leaves it out."""
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


class Server(ThreadingHTTPServer):
    """files: by path. acts: of the next requests. asked: (path, Range) of the requests so far."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.acts, self.asked = files, list[Act](), list[tuple[str, str]]()
        self.version = '"one"'
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def ranges(self) -> list[str]:
        return [asked for _, asked in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""


def well(handler: Handler, body: bytes, end: int | None = None) -> None:
    """As a server should: a part if one is asked for and the file is still the same."""
    if not body:
        handler.answer(404, b"nothing here")
        return
    asked = re.fullmatch(r"bytes=([0-9]+)-", handler.headers.get("Range", ""))
    mark = handler.headers.get("If-Range", handler.server.version)
    start = int(asked[1]) if asked and mark == handler.server.version else 0
    if asked and start >= len(body):
        handler.answer(416, b"", Content_Range=f"bytes */{len(body)}")
        return
    rest = body[start:]
    headers = {"ETag": handler.server.version}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
    handler.answer(206 if start else 200, rest[:end], len(rest), **headers)


def breaks_off(after: int) -> Act:
    return lambda handler, body: well(handler, body, after)


def ignores_ranges(handler: Handler, body: bytes) -> None:
    handler.answer(200, body)


def says(status: int) -> Act:
    return lambda handler, _: handler.answer(status, b"no")


def announces(length: int) -> Act:
    return lambda handler, body: handler.answer(200, body, length)


def sends(body: bytes, **headers: str) -> Act:
    return lambda handler, _: handler.answer(200, body, **headers)


def leads_to(url: str) -> Act:
    return lambda handler, _: handler.answer(302, b"", Location=url)


def hangs_up(handler: Handler, body: bytes) -> None:
    handler.close_connection = True


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Waits(list[float]):
    """Takes the place of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
