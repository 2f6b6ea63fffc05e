"""Run a function again and again beside the work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(do: Callable[[], object], every_s: float, name: str) -> Iterator[None]:
    """Run a function every `every_s` seconds on a background thread, until the block ends.

    An exception stops the thread, not the caller.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_s):
            do()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
