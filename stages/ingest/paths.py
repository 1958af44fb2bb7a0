"""Local paths and uris, parsed and joined without checking whether anything exists there."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, quote, unquote, urlsplit

from stages.errors import ConfigurationError

_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_INSIDE = re.compile("(tar|parquet):")
# User and password before the host (Azure has a container there, HDFS a user alone), and the values of options that
# are named after what they hold.
_NAMES = "secret|token|passw|access_?key|account_?key|credential|signature|\\bsig"
_SECRET = re.compile(
    rf"(?<=://)[^\s/?#@:]*:[^\s/?#@]*(?=@)|(?<=[?&])(?P<key>[\w.%-]*(?:{_NAMES})[\w.%-]*=)[^&#\s]+", re.IGNORECASE
)


def masked(text: str) -> str:
    """A text whose uris have stars in place of users, passwords and keys.

    >>> masked("cannot read s3://me:pw@bucket/a.png?region=eu&secret_key=abc&x=1")
    'cannot read s3://***@bucket/a.png?region=eu&secret_key=***&x=1'
    """
    return _SECRET.sub(lambda found: f"{found['key'] or ''}***", text)


def check_no_secret(uri: str) -> None:
    """Check that a uri holds no credentials, which would end up in files and logs.

    Raises:
        ConfigurationError: It has a user, a password or a key, possibly in an endpoint within its options.
    """
    if _SECRET.search(uri) or _SECRET.search(unquote(uri)):
        scheme, _, rest = uri.partition("://")
        host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
        raise ConfigurationError(
            f"a uri of {scheme}://{host} carries a secret, which would end up in files and logs; "
            "give credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )


def local_path(uri: str) -> str | None:
    """The local path behind a path or a ``file://`` uri; None where it is remote."""
    if uri[:7].lower() == "file://":
        return unquote(urlsplit(uri).path)
    return None if _REMOTE.match(uri) else uri


def archive_of(uri: str) -> str:
    """The file that the bytes behind a uri are in: a tar or a table for one of its images, otherwise itself.

    >>> archive_of("tar:s3%3A//bucket/a.tar?offset=512&size=9#b.png"), archive_of("/data/a.png")
    ('s3://bucket/a.tar', '/data/a.png')
    """
    found = _INSIDE.match(uri)
    return unquote(uri[found.end() :].partition("?")[0]) if found else uri


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
