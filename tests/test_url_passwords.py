"""No part of a URL's password is shown, whatever signs it is made of."""

import pytest

from differ.errors import StorageError, redact


@pytest.mark.parametrize("password", ["secret", "p@secret", "a/secret", "se:cret@x", "p%40secret", "@@secret@@"])
def test_a_password_is_hidden_whole(password: str) -> None:
    url = f"postgresql+psycopg://shop:{password}@127.0.0.1:5432/shop"
    shown = str(StorageError(f"open {url}: refused", hint=f"is {url} right?"))
    assert shown == (
        "open postgresql+psycopg://shop:***@127.0.0.1:5432/shop: refused"
        " (is postgresql+psycopg://shop:***@127.0.0.1:5432/shop right?)"
    )


def test_what_has_no_password_stays() -> None:
    text = "scan orders: http://127.0.0.1:7070/v1, mail to a@b.example"
    assert redact(text) == text
