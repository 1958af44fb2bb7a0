"""Local paths and uris, parsed and joined without checking whether anything exists there."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def local_path(uri: str) -> str | None:
    """The local path behind a path or a ``file://`` uri; None where it is remote."""
    if uri[:7].lower() == "file://":
        return unquote(urlsplit(uri).path)
    return None if _REMOTE.match(uri) else uri


def join(folder: str, name: str) -> str:
    """The uri of a file or folder below a folder.

    Args:
        folder: Local path or uri; the query of a remote one is kept.
        name: Relative POSIX name, not percent-encoded; "" gives the folder itself.

    >>> join("/data/", "a b.png"), join("s3://bucket/x?region=eu-west-1", "a b.png")
    ('/data/a b.png', 's3://bucket/x/a%20b.png?region=eu-west-1')
    """
    path = local_path(folder)
    if path is not None:
        return os.path.join(path, name) if name else path
    if not name:
        return folder
    parts = urlsplit(folder)
    return with_path(parts, f"{parts.path.rstrip('/')}/{quote(name)}")


def parent(uri: str) -> str:
    """The folder that contains a path or uri, without a trailing slash.

    >>> parent("/data/a.png"), parent("s3://bucket/x/a.png?region=eu-west-1")
    ('/data', 's3://bucket/x?region=eu-west-1')
    """
    path = local_path(uri)
    if path is not None:
        return os.path.dirname(os.path.abspath(path))
    parts = urlsplit(uri)
    return with_path(parts, parts.path.rstrip("/").rpartition("/")[0])


def basename(uri: str) -> str:
    """The last part of a path or uri, not percent-encoded.

    >>> basename("/data/a.png"), basename("s3://bucket/x/a%20b.png?region=eu-west-1")
    ('a.png', 'a b.png')
    """
    path = local_path(uri)
    return os.path.basename(path if path is not None else unquote(urlsplit(uri).path).rstrip("/"))


def with_path(parts: SplitResult, path: str) -> str:
    """A remote uri with another, percent-encoded path; ``urlunsplit`` loses the slashes of one without a host."""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{path}{query}"
