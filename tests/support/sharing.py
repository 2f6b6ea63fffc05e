"""Share the tests among processes: one waits for services while another one works.

pytest-xdist's own groups do nothing under pytest 9: the ids of tests keep no suffix. A scheduler of one's own does.
"""

from xdist.scheduler import LoadFileScheduling

SYSTEMS = ("tests/chaos/", "tests/e2e/")


class OneSystem(LoadFileScheduling):
    """Give a file's tests to one process, and those of whole systems too: two systems side by side are slower."""

    def _split_scope(self, nodeid: str) -> str:
        return "systems" if nodeid.startswith(SYSTEMS) else super()._split_scope(nodeid)
