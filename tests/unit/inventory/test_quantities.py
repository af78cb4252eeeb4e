"""Durations, rates, paths and addresses, value by value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.inventory import quantities
from orchestrator.inventory.quantities import Wrong


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7d", 604800), ("1w", 604800), ("0s", 0)],
)
def test_a_duration_is_read_in_seconds(written: str, seconds: float) -> None:
    assert quantities.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "30", 30, 1.5, "s", "30 s", "-1s", "30S", "1h30m", "9999d", True, None, [], "٣s"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(Wrong):
        quantities.duration(written)


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("10M", 10_000_000),
        ("10MB/s", 10_000_000),
        ("80Mbit/s", 10_000_000),
        ("80Mbps", None),
        ("8000bit/s", 1000),
        ("1MiB/s", 1 << 20),
        ("1.5G", 1_500_000_000),
        ("5kB", 5000),
        ("10", None),
        (10, None),
        ("10Mb/s", None),
        ("1B/s", None),
        ("", None),
        ("M", None),
    ],
)
def test_a_rate_is_read_in_bytes_a_second_or_refused(written: object, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(Wrong):
            quantities.rate(written)
    else:
        assert quantities.rate(written) == amount


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("var/vmail", "write the whole path, from /"),
        ("/", "name the directory that holds the mail"),
        ("//", "name the directory that holds the mail"),
        ("/srv/mail/", "write /srv/mail"),
        ("/srv//mail", "write /srv/mail"),
        ("/srv/./mail", "write /srv/mail"),
        ("/srv/../etc", "write the path that is meant"),
        ("~/mail", "write the whole path, from /"),
    ],
)
def test_a_root_must_be_absolute_and_normalised(written: str, hint: str) -> None:
    with pytest.raises(Wrong) as caught:
        quantities.root(written)
    assert caught.value.hint == hint


@pytest.mark.parametrize("written", ["", "/home/*", "../*", "*/..", "a//b", "*/", "./x"])
def test_a_glob_stays_below_its_root(written: str) -> None:
    with pytest.raises(Wrong):
        quantities.accounts(written)


@pytest.mark.parametrize(
    "written", ["mail", "mail1.example.org", "192.0.2.1", "2001:db8::1", "under_score.example.org"]
)
def test_names_and_addresses_are_taken(written: str) -> None:
    assert quantities.address(written) == written


@pytest.mark.parametrize("written", ["", "192.0.2.300", "192.0.2", "a b", "-a", "a..b", "mail:25", "a/b", "x" * 254])
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        quantities.address(written)


@pytest.mark.parametrize("written", ["9464", "host:", "host:0", "host:65536", "::1:9464", "a b:1", ":9464x"])
def test_what_is_no_endpoint_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        quantities.endpoint(written)


@pytest.mark.parametrize("written", ["192.0.2.10", "192.0.2.10/33", "x/24"])
def test_an_interface_address_has_its_prefix(written: str) -> None:
    with pytest.raises(Wrong):
        quantities.interface_address(written)
    assert quantities.interface_address("2001:db8::10/64") == "2001:db8::10/64"


@given(st.text())
def test_no_text_makes_a_reader_raise_anything_but_wrong(text: str) -> None:
    for reader in (
        quantities.duration,
        quantities.rate,
        quantities.root,
        quantities.accounts,
        quantities.path,
        quantities.address,
        quantities.interface_address,
        quantities.endpoint,
    ):
        try:
            reader(text)
        except Wrong as error:
            assert error.what  # a refusal says why
