"""Passwords and tokens are found in addresses, and nothing else is."""

from __future__ import annotations

import pytest

from emma_tune.addresses import has_secret, redacted

SECRET = {
    "s3://AKIA:pa55@bucket/runs": "s3://…@bucket/runs",
    "s3:/AKIA:pa55@bucket/runs": "s3:/…@bucket/runs",
    "https://user:pa55@host:5000/x": "https://…@host:5000/x",
    "https://pa55@host/x": "https://…@host/x",
    "http://:pa55@host": "http://…@host",
    "postgresql+psycopg2://me:pa55@host/db": "postgresql+psycopg2://…@host/db",
    "https://host/x?a=1&access_token=pa55&b=2": "https://host/x?a=1&access_token=…&b=2",
    "https://account.blob/x?sv=1&sig=pa55": "https://account.blob/x?sv=1&sig=…",
    "at s3://a:pa55@b and s3://c:pa55@d: no": "at s3://…@b and s3://…@d: no",
}
PLAIN = (
    "s3://bucket/runs@home:1",
    "http://127.0.0.1:5000",
    "sqlite:///mlflow.db",
    "postgresql://me@host/db",
    "/home/me:you@work/runs",
    "https://host/x?page=2",
    "point 3 failed: matrix: FloatingPointError: expected a@b",
)


@pytest.mark.parametrize(("address", "shown"), SECRET.items())
def test_secrets_are_found_and_left_out(address, shown):
    assert has_secret(address)
    assert redacted(address) == shown
    assert "pa55" not in shown


@pytest.mark.parametrize("address", PLAIN)
def test_what_is_none_is_left_alone(address):
    assert not has_secret(address)
    assert redacted(address) == address
