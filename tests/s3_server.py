"""A server that speaks S3, of a test's own, on this machine; it can go away and come back with what it holds."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from moto.server import ThreadedMotoServer
from pyarrow import fs


class Bucket:
    """A bucket on a server, and what a test does to either."""

    def __init__(self) -> None:
        self.name = f"bucket-{secrets.token_hex(4)}"
        self.server: ThreadedMotoServer | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """The server comes up, at the address that it had before."""
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def stop(self) -> None:
        """The server is away; nobody listens at its address."""
        if self.server is not None:
            self.server.stop()
            self.server._server.server_close()
            self.server = None

    @property
    def address(self) -> str:
        """For cluster.storage=."""
        return f"s3://{self.name}/some/prefix"

    @property
    def environment(self) -> dict[str, str]:
        """For those who may use it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "a-key",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self) -> fs.FileSystem:
        """A view of its own, past the code that is tested."""
        return fs.S3FileSystem(
            endpoint_override=self.environment["AWS_ENDPOINT_URL"], allow_bucket_creation=True
        )

    def names(self) -> list[str]:
        """All that lies below the prefix, without it."""
        found = self.files().get_file_info(fs.FileSelector(f"{self.name}/some", recursive=True))
        return [file.path.partition("/prefix/")[2] for file in found if file.is_file]


@contextmanager
def s3_bucket() -> Iterator[Bucket]:
    """An empty bucket; its environment holds, and its server runs, as long as the context."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    bucket = Bucket()
    try:
        with patch.dict(os.environ, bucket.environment):
            bucket.files().create_dir(bucket.name)
            yield bucket
    finally:
        bucket.stop()
