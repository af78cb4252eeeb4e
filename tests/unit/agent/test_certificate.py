"""When certificates end, against what a library that knows them says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.certificate import not_after
from tests.support.tls import certified

pytestmark = pytest.mark.issue("4.1 certificate expiry")

ENDS = [
    datetime(2026, 11, 24, 12, 0, 1),
    datetime(2049, 12, 31, 23, 59, 59),
    datetime(2050, 1, 1),
    datetime(2131, 6, 1),
]


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_the_end_of_a_certificate_is_read_in_both_forms_of_time(end: datetime) -> None:
    made, _ = certified(end=end)
    assert not_after(made.public_bytes(Encoding.DER)) == end.replace(tzinfo=UTC).timestamp()


def test_a_certificate_of_the_first_version_has_no_version() -> None:
    made, _ = certified(end=ENDS[0])
    der = made.public_bytes(Encoding.DER)
    at = der.index(b"\xa0\x03\x02\x01\x02")
    body = der[8:at] + der[at + 5 :]
    first = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    whole = b"\x30\x82" + len(first).to_bytes(2, "big") + first
    assert not_after(whole) == ENDS[0].replace(tzinfo=UTC).timestamp()
    assert x509.load_der_x509_certificate(der)


@given(st.binary(max_size=200))
def test_what_isnt_a_certificate_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        not_after(data)


@given(st.data())
def test_a_damaged_certificate_is_an_answer_or_a_value_error(data: st.DataObject) -> None:
    made, _ = certified(end=ENDS[0])
    der = bytearray(made.public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = not_after(bytes(der))
    except ValueError:
        return
    assert isinstance(found, float)
