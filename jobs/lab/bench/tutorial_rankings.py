"""The rankings job as PyFlink's tutorials write it, to measure against: the model and a write for every event."""

import argparse
import json
import math

import numpy as np
import redis
from pyflink.common import Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.state import ValueStateDescriptor

from jobs.lab.bench.tutorial_features import source
from models.serving.bundle import load_bundle

KEPT_EVENTS = 50
SESSION_GAP_MS = 300 * 1000  # as the other job is told, see workplace.SESSION_GAP_S


class RankEvent(KeyedProcessFunction):
    """Keeps a visitor's last events, runs the model on them and writes the list with every event."""

    def __init__(self, redis_url: str, model_dir: str) -> None:
        self._redis_url = redis_url
        self._model_dir = model_dir

    def open(self, runtime_context: RuntimeContext) -> None:
        self._redis = redis.Redis.from_url(self._redis_url)
        self._bundle = load_bundle(self._model_dir)
        self._last = runtime_context.get_state(ValueStateDescriptor("last_events", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, event: dict, ctx: KeyedProcessFunction.Context):
        bundle, time_ms = self._bundle, event["event_time_ms"]
        last = self._last.value() or []
        if last and time_ms - last[-1][2] > SESSION_GAP_MS:
            last = []
        item, kind = bundle.item_index.get(event.get("item_id")), bundle.type_index.get(event["event_type"])
        if item and kind:
            last = [*last, (item, kind, time_ms)][-KEPT_EVENTS:]
            self._last.update(last)
        if not last:
            return
        items, types, times = (np.array([column], np.int64) for column in zip(*last, strict=True))
        gaps = np.array([[0.0, *(math.log1p(pause_ms / 1000) for pause_ms in np.diff(times[0]).tolist())]], np.float32)
        context = np.zeros((1, len(bundle.context_features)), np.float32)
        scores, found = bundle.score(items, types, gaps, np.array([len(last)]), context, k=20)
        value = {"items": [bundle.items[each] for each in found[0].tolist()], "scores": scores[0].tolist()}
        self._redis.set(f"rankings:{event['visitor_id']}", json.dumps(value))
        yield event["visitor_id"]


def main() -> None:
    """Run the job: the entry point of `flink run -py`."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "redis", "ends", "model"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    ends = {int(partition): offset for partition, offset in json.loads(arguments.ends).items()}
    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.set_parallelism(1)
    records = environment.from_source(
        source(arguments.bootstrap, arguments.topic, "tutorial-rankings", ends),
        WatermarkStrategy.no_watermarks(),
        "events",
    )
    (
        records.map(json.loads)
        .key_by(lambda event: event["visitor_id"], key_type=Types.STRING())
        .process(RankEvent(arguments.redis, arguments.model), output_type=Types.STRING())
    )
    environment.execute("tutorial rankings")


if __name__ == "__main__":
    main()
