import pytest

from stages.errors import ConfigurationError
from stages.ingest.paths import check_no_secret, masked

SECRETS = [
    "s3://user:PW@bucket/run",
    "s3://:PW@bucket/run",
    "ftp://user:PW@host/x",
    "s3://bucket/run?secret_key=PW",
    "s3://bucket/run?region=eu&access_key=PW&x=1",
    "s3://bucket/run?session_token=PW",
    "abfs://c@account/x?account_key=PW",
    "https://host/x.pt?X-Amz-Signature=PW",
    "https://host/x.pt?sig=PW",
    "s3://bucket/run?endpoint_override=http://user:PW@host:9000",
    "s3://bucket/run?endpoint_override=http%3A%2F%2Fuser%3APW%40host%3A9000",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_uri_with_credentials_is_refused_and_not_repeated(uri):
    with pytest.raises(ConfigurationError, match=r"carries a secret.*give credentials in the environment") as caught:
        check_no_secret(uri)
    assert "PW" not in str(caught.value)


@pytest.mark.parametrize("uri", SECRETS[:-1])
def test_credentials_are_masked_in_what_others_say(uri):
    said = masked(f"cannot read {uri} or {uri}")
    assert "PW" not in said and said.count("***") == 2


@pytest.mark.parametrize(
    "uri",
    [
        "/data/user:x@home/a.png",
        "s3://bucket/a@b:c/x.png?region=eu-west-1&endpoint_override=http://127.0.0.1:9000",
        "abfs://container@account.dfs.core.windows.net/x",
        "hdfs://me@node:9000/x",
        "file:/x/secret.pt?arch=resnet18&classes=token.txt",
        "tar:/a/secret=1.tar?offset=1&size=2#a.png",
    ],
)
def test_what_only_looks_like_it_stays(uri):
    check_no_secret(uri)
    assert masked(uri) == uri
