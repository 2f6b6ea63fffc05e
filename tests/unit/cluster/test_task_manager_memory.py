"""The JVM's limits follow from the heap that settings name."""

from jobs.cluster.flink_config import TaskManagerMemory


def test_limits_of_the_jvm_follow_from_the_heap() -> None:
    """8,192 MiB for state and 128 of Flink's own; two fifths of the sum are for young objects."""
    memory = TaskManagerMemory(task_heap_mb=8_192)
    assert {"-Xms8320m", "-Xmx8320m", "-Xmn3328m"} <= set(memory.java_options)
    assert memory.config["taskmanager.memory.task.heap.size"] == "8192m"
