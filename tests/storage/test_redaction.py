"""Passwords and tokens are found in addresses, and nothing else is; what a terminal obeys is written out."""

from __future__ import annotations

import pytest

from emma_tune.storage.redaction import has_secret, printable, redacted
from emma_tune.study.file import StudyError, load_study

SECRET = {
    "s3://AKIA:pa55@bucket/runs": "s3://…@bucket/runs",
    "s3:/AKIA:pa55@bucket/runs": "s3:/…@bucket/runs",
    "s3://AKIA:a/pa55/b@bucket/runs": "s3://…@bucket/runs",
    "postgresql://me:a@pa55@host/db": "postgresql://…@host/db",
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
    "http://127.0.0.1:5000/of/me@home",
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


def test_what_a_terminal_obeys_is_written_out():
    assert printable("a\x1b[2Jb\rc\x9b\u202etxt\udcff") == r"a\x1b[2Jb\rc\x9b\u202etxt\udcff"
    plain = "Größe λ ≤ 2, 鳥.png\n\t[red]"
    assert printable(plain) == plain


@pytest.mark.parametrize("place", ["store", "data_root", "victim.weights", "attackers.soft.weights"])
def test_a_study_with_a_password_in_an_address_is_refused_and_the_password_not_repeated(study_file, place):
    pattern = rf"{place}: expected an address without a password \(.*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    with pytest.raises(StudyError, match=pattern) as error:
        load_study(study_file(), [f"{place}=s3://me:pa55@bucket/x"])
    assert "pa55" not in str(error.value)


def test_a_data_set_with_a_password_is_refused_in_the_file(study_file):
    file = study_file(queries={"dataset": "folder:s3://me:pa55@bucket/x"})
    with pytest.raises(StudyError, match=r"yaml:.*expected an address without a password") as error:
        load_study(file)
    assert "pa55" not in str(error.value)


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\nb", "", "\u202esoft"])
def test_the_name_of_an_attacker_must_be_printable(study_file, name):
    with pytest.raises(StudyError, match="attackers: expected names that can be printed"):
        load_study(study_file(attackers={"soft": {}, name: {"kind": "hard"}}))
