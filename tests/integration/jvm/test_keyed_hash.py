"""Ids hash under the job's secret. Expected values are Python's own HMAC."""

import hashlib
import hmac
import itertools
import struct

from jobs.jvm import build
from jobs.lab.chaos.collisions import colliding_ids

SECRET = "0123456789abcdef" * 4


def hashes(java_checks: str, *ids: str, secret: str = SECRET) -> list[tuple[int, int, str]]:
    """Return Flink's hash of each id's key without the secret and with it, and the digest."""
    lines = build.run_beside(java_checks, "KeyedHashCheck", secret, told="".join(f"{each}\n" for each in ids))
    return [(int(plain), int(keyed), digest) for plain, keyed, digest in map(str.split, lines.splitlines())]


def test_chosen_ids_of_one_hash_lie_apart_under_the_secret(java_checks: str) -> None:
    """Of 5,000 random 32-bit hashes about three pairs are equal by chance."""
    ids = list(itertools.islice(colliding_ids(), 5000))
    found = hashes(java_checks, *ids)
    assert len(set(ids)) == 5000
    assert len({plain for plain, _, _ in found}) == 1
    assert len({keyed for _, keyed, _ in found}) > 4980


def test_digest_is_hmac_of_ids_with_their_lengths(java_checks: str) -> None:
    cases = ["lamp", "anna\torder-1001", "zoë\t", "a\tbc", "ab\tc"]
    expected = []
    for case in cases:
        parts = [part.encode() for part in case.split("\t")]
        parts = parts[:1] if parts[-1] == b"" else parts  # Java's split leaves an empty end out
        message = b"".join(struct.pack(">i", len(part)) + part for part in parts)
        expected.append(hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()[:32])
    assert [digest for _, _, digest in hashes(java_checks, *cases)] == expected
    assert len(set(expected)) == len(cases)


def test_another_secret_gives_other_hashes(java_checks: str) -> None:
    one, other = (hashes(java_checks, "lamp", secret=secret)[0] for secret in (SECRET, SECRET[::-1]))
    assert one[0] == other[0]
    assert one[1:] != other[1:]
