"""What the demo reads from Prometheus pages."""

from jobs.connect.flink_rest import counted
from jobs.lab.demo.counts import ACCEPTED_METRIC

PAGE = """# TYPE flink_taskmanager_job_task_operator_batch_rows gauge
flink_taskmanager_job_task_operator_batch_rows{job_name="liveshelf_rankings",host="127.0.0.1",} 14000.0
flink_taskmanager_job_task_operator_batch_rows{job_name="liveshelf_rankings",host="127.0.0.2",} 1.48E2
flink_taskmanager_job_task_operator_batches{job_name="liveshelf_rankings",} 9.0
"""


def test_rows_are_found_for_each_task_and_nothing_else() -> None:
    assert counted(PAGE, ACCEPTED_METRIC) == [14000.0, 148.0]
    assert counted(PAGE, "rows") == []
