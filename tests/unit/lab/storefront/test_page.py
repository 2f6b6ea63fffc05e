"""The page as it is written: whole, readable, and with no address but its own."""

import re
from html.parser import HTMLParser

import pytest

from jobs.lab.storefront.app import FOLDER, KINDS, PAGE

HTML = (FOLDER / PAGE).read_text()
CSS = (FOLDER / "storefront.css").read_text()
VOID = {"meta", "link", "input", "stop", "br", "img"}
NAMED = {"input": "label", "select": "label"}
READABLE = 4.5  # WCAG 2.1, 1.4.3
PAIRS = [
    ("ink", "ground"), ("ink", "card"), ("soft", "ground"), ("soft", "card"), ("accent", "ground"),
    ("on-accent", "accent"), ("good", "ground"), ("warn", "ground"),
]  # fmt: skip


class Reader(HTMLParser):
    """Reads elements with their attributes and text, and refuses what isn't closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], data.strip())


@pytest.fixture(scope="module")
def page() -> Reader:
    reader = Reader()
    reader.feed(HTML)
    reader.close()
    return reader


def test_each_element_is_closed_and_each_id_is_its_own(page: Reader) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    pointed = [attributes.get(name) for _, attributes in page.elements for name in ("for", "aria-labelledby", "list")]
    assert {each for each in pointed if each} <= set(ids)


def test_a_screen_reader_finds_language_title_landmarks_and_labels(page: Reader) -> None:
    tags = [tag for tag, _ in page.elements]
    assert page.elements[0] == ("html", {"lang": "en"})
    assert page.texts["title"]
    assert [tags.count(tag) for tag in ("h1", "main", "nav", "header", "footer")] == [1, 1, 1, 1, 1]
    labels = {attributes.get("for") for tag, attributes in page.elements if tag == "label"}
    fields = [attributes for tag, attributes in page.elements if tag in NAMED and attributes.get("type") != "checkbox"]
    assert {field["id"] for field in fields} <= labels
    assert [attributes for tag, attributes in page.elements if attributes.get("role") == "status"]


def test_the_page_needs_nothing_that_its_policy_forbids(page: Reader) -> None:
    """Neither a script, a style nor a handler within the page, nor anything from elsewhere."""
    for tag, attributes in page.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "style"
        assert tag != "script" or attributes["src"]
        for name in ("src", "href"):
            assert re.match(r"/|#", attributes.get(name) or "/")
    for name in KINDS:
        text = (FOLDER / name).read_text()
        assert set(re.findall(r"https?://[\w./]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b|@import|url\((?!#)", text)


def colours(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_has_the_greatest_contrast() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_words_can_be_read_on_their_ground(pair: tuple[str, str], is_dark: bool) -> None:
    light, dark = CSS.split("@media (prefers-color-scheme: dark)")
    shown = colours(dark if is_dark else light)
    assert contrast(*(shown[name] for name in pair)) >= READABLE
