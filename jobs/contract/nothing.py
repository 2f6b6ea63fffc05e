"""Know ids that name nothing: blanks, and the words that languages write for a value that isn't there. Pure.

A page whose script sends "undefined" for every visitor makes all of them one person, with one list and one consent.
`ParseEvent.java` reads the blanks and words from its jar and compares in the same way.
"""

# Written out, because Java and Python each have their own idea of a blank. The last five take no room on a screen.
BLANKS = (
    " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
    "\u200b\u200c\u200d\u2060\ufeff"
)
WORDS = ("undefined", "null", "NULL", "None", "NaN", "nan")  # as they are written: "Nan" and "none" may be names
OBJECT = ("[object ", "]")  # how JavaScript writes an object, such as "[object Object]"


_LENGTHS = frozenset({0, *map(len, WORDS)})


def names_nothing(text: str) -> bool:
    """Return True for "", blanks, a word for nothing, and an object's text, with blanks around or without."""
    if len(text) not in _LENGTHS and text.isalnum():
        return False
    word = text.strip(BLANKS)
    return not word or word in WORDS or (word.startswith(OBJECT[0]) and word.endswith(OBJECT[1]))


def pattern() -> str:
    """Return a regular expression, for JSON Schema, of the texts that name nothing."""
    blanks = "".join(f"\\u{ord(blank):04x}" for blank in BLANKS)
    return rf"^[{blanks}]*(?:(?:{'|'.join(WORDS)}|\[object [\s\S]*\])[{blanks}]*)?$"
