"""A real S3 server on loopback, which can be told to fail."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "bucket"
SECRET = "secret-that-must-not-leak"

Answer = Callable[[str, str], int | None]
"""From method and path of a request to the status to fail it with; None lets it through."""


class Store:
    """The server.

    Attributes:
        fail: Asked before each request.
        requests: (method, path, status of the failure or None), in order.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.fail: Answer = lambda method, path: None
        self.requests: list[tuple[str, str, int | None]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        status = self.fail(method, path)
        self.requests.append((method, path, status))
        if status is None:
            return self.app(environ, start_response)
        code = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}[status]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told to fail</Message></Error>".encode()
        start_response(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def puts(self, ending: str) -> int:
        """Objects of that ending that were stored."""
        return sum(
            method == "PUT" and path.endswith(ending) and status is None for method, path, status in self.requests
        )


@contextmanager
def serving() -> Iterator[Store]:
    """A server with one empty bucket; the environment points there, as a user's would point to S3."""
    moto = pytest.importorskip("moto.moto_server.werkzeug_app", reason="the extra dev is not installed")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any) -> None:
            """Say nothing."""

    store = Store(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # What an earlier server of this process was given is kept beyond its end.
    reset = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/moto-api/reset", method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(reset).close()
    store.requests.clear()
    names = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    from stages.ingest import remote

    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        patch.delenv("HTTP_PROXY", raising=False)
        patch.delenv("http_proxy", raising=False)
        remote.filesystem_of.cache_clear()
        remote.remote(f"s3://{BUCKET}?allow_bucket_creation=true")[0].create_dir(BUCKET)
        try:
            yield store
        finally:
            server.shutdown()
            server.server_close()
            remote.filesystem_of.cache_clear()


def upload(folder: str | os.PathLike[str], prefix: str) -> None:
    """Put the files of a local folder below a prefix of the bucket."""
    from pyarrow.fs import LocalFileSystem, copy_files

    from stages.ingest.remote import remote

    copy_files(os.fspath(folder), f"{BUCKET}/{prefix}", LocalFileSystem(), remote(f"s3://{BUCKET}")[0])


def download(prefix: str) -> dict[str, bytes]:
    """The objects below a prefix, by the rest of their names."""
    from stages.ingest.paths import join
    from stages.ingest.uris import read_bytes, walk

    root = f"s3://{BUCKET}/{prefix}"
    return {name: read_bytes(join(root, name)) for name in walk(root)}
