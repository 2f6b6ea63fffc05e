"""Make ids that Flink's hash puts into one place.

A key of state is a `BinaryRowData`. Flink hashes its words with MurmurHash3 and a seed that everybody knows. A key of
one text of eight bytes has the words 0, 0, 8 (length), 16 (offset) and the two words of the text. Each step of the hash
can be inverted. So for any first word there is one second word that leads to a given hash, and one in 256 of those is
made of ordinary characters.
"""

import string
from collections.abc import Iterator
from itertools import product

MASK = 0xFFFFFFFF
SEED = 42
C1, C2, ADD = 0xCC9E2D51, 0x1B873593, 0xE6546B64
# What multiplies a word back: modulo 2^32 each odd number has an inverse.
C1_BACK, C2_BACK = pow(C1, -1, 1 << 32), pow(C2, -1, 1 << 32)
FIVE_BACK = pow(5, -1, 1 << 32)
HEAD = (0, 0, 8, 16)
ALPHABET = (string.digits + string.ascii_letters + "-_").encode()
WANTED = 0x1234567  # the state of the hash before its end, which is the same for all


def colliding_ids() -> Iterator[str]:
    """Yield ids of eight ordinary characters with one hash. Each takes about 1 ms to find."""
    before = SEED
    for word in HEAD:
        before = _mixed(before, word)
    allowed = set(ALPHABET)
    for first in product(ALPHABET, repeat=4):
        state = _mixed(before, int.from_bytes(bytes(first), "little"))
        second = _word_between(state, WANTED).to_bytes(4, "little")
        if allowed.issuperset(second):
            yield (bytes(first) + second).decode()


def _mixed(state: int, word: int) -> int:
    state ^= _left(word * C1 & MASK, 15) * C2 & MASK
    return (_left(state, 13) * 5 + ADD) & MASK


def _word_between(state: int, after: int) -> int:
    """Return the word that takes the hash from one state to another."""
    mixed = _left((after - ADD) * FIVE_BACK & MASK, 32 - 13) ^ state
    return _left(mixed * C2_BACK & MASK, 32 - 15) * C1_BACK & MASK


def _left(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & MASK
