"""Scripts that travel many calls to a command, on a real Redis."""

import pytest
import redis

from jobs.connect.redis_pipeline import CALLS_AT_ONCE, Connection, Script

# Sets the first key, and answers with what the others hold and the arguments that came.
SCRIPT = Script("""
if ARGV[1] == 'nothing' then return nil end
redis.call('SET', KEYS[1], ARGV[1])
local found = {}
for number = 2, #KEYS do found[#found + 1] = redis.call('GET', KEYS[number]) end
return {#ARGV, found}
""")


@pytest.fixture
def connection(redis_url: str) -> Connection:
    redis.Redis.from_url(redis_url).flushall()
    return Connection(redis_url, patience_s=1)


def test_each_call_gets_its_own_keys_and_arguments(connection: Connection) -> None:
    """Calls of one to three keys and arguments, more than travel at once; each reads what the one before it wrote."""
    count = 2 * CALLS_AT_ONCE + 3
    keys = [[f"k{n}", *[f"k{n - 1}"] * (n % 3)] for n in range(count)]
    calls = [(*keys[n], f"v{n}", *["more"] * (n % 2)) for n in range(count)]

    answers = connection.run(SCRIPT, calls, [len(each) for each in keys])

    read = [[b"v%d" % (n - 1)] * (n % 3) for n in range(count)]
    assert answers == [[1 + n % 2, read[n]] for n in range(count)]


def test_a_call_that_answers_nothing_keeps_its_place(connection: Connection) -> None:
    assert connection.run(SCRIPT, [("a", "1"), ("b", "nothing"), ("c", "3")]) == [[1, []], None, [1, []]]


def test_a_call_that_fails_takes_no_other_with_it(connection: Connection, redis_url: str) -> None:
    """Those before it and behind it are done, and the error stands in its place."""
    store = redis.Redis.from_url(redis_url)
    store.rpush("list", "x")

    before, failed, behind = connection.run(SCRIPT, [("a", "1"), ("b", "list", "2"), ("c", "3")], [1, 2, 1])

    assert (before, behind) == ([1, []], [1, []])
    assert isinstance(failed, redis.ResponseError)
    assert "WRONGTYPE" in str(failed)
    assert store.mget("a", "c") == [b"1", b"3"]


def test_a_server_that_forgot_the_scripts_is_told_again(connection: Connection, redis_url: str) -> None:
    connection.run(SCRIPT, [("a", "1"), ("b", "2")])
    redis.Redis.from_url(redis_url).script_flush()

    assert connection.run(SCRIPT, [("a", "3"), ("b", "a", "4")], [1, 2]) == [[1, []], [1, [b"3"]]]


def test_no_calls_have_no_answers(connection: Connection) -> None:
    assert connection.run(SCRIPT, []) == []
