"""Origins, write keys and consent."""

from pathlib import Path

import pytest

from jobs.collect import access
from jobs.collect.access import WriteKeys
from jobs.collect.refusal import RequestRefusedError
from jobs.errors import SettingsError

LONG = "0123456789abcdef"


def test_key_tells_its_name_and_a_wrong_one_is_refused():
    keys = WriteKeys([("web", LONG), ("app", LONG[::-1])])
    assert keys.name_of(LONG) == "web"
    assert keys.name_of(LONG[::-1]) == "app"
    for wrong in ("", LONG[:-1], LONG + "0", "ключ", "x" * 10_000):
        with pytest.raises(RequestRefusedError) as refused:
            keys.name_of(wrong)
        assert (refused.value.status, refused.value.code) == (401, "write_key")


def test_keys_come_from_a_file_of_names_and_keys(tmp_path: Path):
    path = tmp_path / "write.keys"
    path.write_text(f"web {LONG}\n")
    path.chmod(0o600)
    assert WriteKeys.read(path).name_of(LONG) == "web"
    path.write_text(f"web {LONG[:-1]}\n")
    with pytest.raises(SettingsError, match="web's key has less than 16") as refused:
        WriteKeys.read(path)
    assert LONG[:-1] not in str(refused.value)
    with pytest.raises(SettingsError, match="openssl rand"):
        WriteKeys.read(None)


def test_a_servers_key_is_of_no_use_on_a_page():
    keys = WriteKeys([("web", LONG), ("server:orders", LONG[::-1])])
    assert [keys.is_servers(given) for given in (LONG, LONG[::-1], "", "wrong")] == [False, True, False, False]
    assert keys.name_of(LONG[::-1]) == "server:orders"
    access.check_origin(None, ["https://shop.example"], is_servers=True)
    with pytest.raises(RequestRefusedError) as refused:
        access.check_origin("https://shop.example", ["https://shop.example"], is_servers=True)
    assert (refused.value.status, refused.value.code) == (403, "server_key")


def test_origins_are_listed_as_browsers_send_them():
    listed = " https://shop.example, http://localhost:8000 ,"
    assert access.origins(listed) == ["https://shop.example", "http://localhost:8000"]
    assert access.origins("") == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("https://Shop.Example", "https://shop.example"),
        ("HTTPS://shop.example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://müller.example", "https://xn--mller-kva.example"),
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example/de", "https://shop.example"),
    ],
)
def test_origin_that_no_browser_sends_is_refused_with_right_one(wrong: str, right: str):
    """It would never match, and each page would be refused for a reason that nobody sees."""
    with pytest.raises(SettingsError) as refused:
        access.origins(wrong)
    assert refused.value.fix.endswith(f": {right}")


@pytest.mark.parametrize(
    "origin", ["http://[::1]:8000", "https://xn--mller-kva.example", "http://127.0.0.1", "https://a_b.c"]
)
def test_unusual_origins_are_taken(origin: str):
    assert access.origins(origin) == [origin]


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "https://*.shop.example",
        "shop.example",
        "null",
        "https://",
        "https://a:b",
        "https://a:99999",
        "https://u@a",
    ],
)
def test_a_wildcard_or_anything_but_an_origin_is_refused(wrong: str):
    with pytest.raises(SettingsError, match="collector_origins"):
        access.origins(f"https://good.example,{wrong}")


def test_server_sends_no_origin_and_a_page_an_allowed_one():
    access.check_origin(None, [])
    access.check_origin("https://shop.example", ["https://shop.example"])
    for wrong in ("https://shop.example.evil", "https://evil.example", "null", "", "http://shop.example"):
        with pytest.raises(RequestRefusedError) as refused:
            access.check_origin(wrong, ["https://shop.example"])
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, "unknown"),
        ({"x-consent": "granted"}, {}, "granted"),
        ({}, {"consent": "granted"}, "granted"),
        ({"x-consent": "denied"}, {"consent": "granted"}, "denied"),
        ({"x-consent": "unknown"}, {}, "unknown"),
        ({"x-consent": "granted", "sec-gpc": "1"}, {}, "denied"),
        ({"sec-gpc": "1"}, {"consent": "granted"}, "denied"),
        ({"x-consent": "granted", "sec-gpc": "0"}, {}, "granted"),
    ],
)
def test_consent_is_what_is_stated_and_global_privacy_control_denies(headers: dict, query: dict, expected: str):
    assert access.consent(headers, query) == expected


@pytest.mark.parametrize("misspelled", ["Granted", "yes", "granted,denied"])
def test_a_misspelled_consent_is_an_error_and_not_silently_none(misspelled: str):
    with pytest.raises(RequestRefusedError) as refused:
        access.consent({"x-consent": misspelled}, {})
    assert (refused.value.status, refused.value.code) == (400, "consent")
