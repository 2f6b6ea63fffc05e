"""Share the tests among processes: one waits for services while another one works.

pytest-xdist's own groups do nothing under pytest 9: the ids of tests keep no suffix. A scheduler of one's own does.
"""

from xdist.scheduler import LoadFileScheduling

SYSTEM = "tests/e2e/"


class OneSystem(LoadFileScheduling):
    """Give a file's tests to one process, and all of `tests/e2e` to one, because they share a system."""

    def _split_scope(self, nodeid: str) -> str:
        return SYSTEM if nodeid.startswith(SYSTEM) else super()._split_scope(nodeid)
