"""Share the tests among processes: one waits for services while another one works.

pytest-xdist's own groups do nothing under pytest 9: the ids of tests keep no suffix. A scheduler of one's own does.
"""

from xdist.scheduler import LoadFileScheduling

SYSTEMS = ("tests/chaos/", "tests/e2e/")


class OneSystem(LoadFileScheduling):
    """Give a file's tests to one process, and all tests of whole systems to one: two systems are slower side by side."""

    def _split_scope(self, nodeid: str) -> str:
        return "systems" if nodeid.startswith(SYSTEMS) else super()._split_scope(nodeid)
