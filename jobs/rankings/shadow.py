"""The operator of a canary: a second rankings job, whose lists are compared with those that apps read.

It is a class of its own in a module of its own, so that workers with an older liveshelf, which would know nothing of a
flag and write to the apps' keys, can't load it.
"""

from jobs.contract.shelf import SHADOW
from jobs.rankings.lists import Wanted
from jobs.rankings.operator import Lists, RankSessions, Row


class ShadowSessions(RankSessions):
    """Ranks as `RankSessions` does, and writes visitors' lists to keys of its own. It writes and logs nothing else."""

    LISTS = SHADOW

    def _open_shared(self) -> None:
        """Leave what is no visitor's to the live job."""

    def _publish(self, rows: list[Row], wanted: Wanted, lists: Lists) -> dict[int, str]:
        super()._publish(rows, wanted, lists)
        return {}
