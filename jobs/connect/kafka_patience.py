"""Ask Kafka again while it may still answer.

A broker that dies leaves its partitions without a leader for some seconds, and kafka-python tells of each refused
connection, though two other brokers would answer. A new broker needs some seconds to make its own topics.
"""

from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

PATIENCE_S = 20.0


def patiently(ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Return the answer; ask again for `PATIENCE_S` while Kafka says that it may come.

    Raises the last `KafkaError`, and at once one that no repetition mends.
    """
    again = Retrying(
        retry=retry_if_exception(_may_pass),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(PATIENCE_S),
        reraise=True,
    )
    return again(ask, *arguments, **named)


def _may_pass(error: BaseException) -> bool:
    """Return True for what Kafka calls retriable, but for a topic that isn't there: its name may be misspelled.

    Nor for a limit that the client waited for by itself, as a producer does for a topic's partitions.
    """
    is_over = isinstance(error, UnknownTopicOrPartitionError | KafkaTimeoutError)
    return isinstance(error, KafkaError) and bool(error.retriable) and not is_over
