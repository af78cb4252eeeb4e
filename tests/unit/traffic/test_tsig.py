"""TSIG keys as BIND's tools write them."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError
from orchestrator.traffic.dns import Key
from orchestrator.traffic.tsig import parse

pytestmark = pytest.mark.issue("4.4 DNS TSIG")

PRINTED = """key "mailmirror" {
\talgorithm hmac-sha256;
\tsecret "MDEyMzQ1Njc4OWFiY2RlZg==";
};
"""


@pytest.mark.parametrize("text", [PRINTED, " ".join(PRINTED.split()), PRINTED.replace('"', ""), PRINTED.rstrip(";\n")])
def test_what_tsig_keygen_prints_is_a_key(text: str) -> None:
    assert parse(text, "here") == Key("mailmirror", "hmac-sha256", b"0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no TSIG key"),
        ("MDEyMzQ1Njc4OWFiY2RlZg==", "holds no TSIG key"),
        (PRINTED * 2, "holds no TSIG key"),
        (PRINTED.replace("hmac-sha256", "hmac-md5"), "the key is for hmac-md5"),
        (PRINTED.replace("MDEy", "MDE"), "isn't base64"),
    ],
)
def test_what_isnt_one_is_told_without_showing_it(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse(text, "/etc/key")
    assert str(caught.value).startswith("/etc/key")
    assert "NTY3ODlhYmNkZWY" not in str(caught.value)
    assert caught.value.remedy
