"""The random profile: weighted actions drawn from a seed, as Materialize's Zippy does; each `verify` ends a round."""

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.errors import SettingsError
from jobs.lab.chaos import processes, services
from jobs.lab.chaos.running_system import ESHOP
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.person import erase, ids
from models.serving.registry import Registry

ACTIONS = 200
CLICKS_AN_INGEST = 40
ERASED_LIMIT_S = 120.0


def _ingest(stage: Stage) -> None:
    """Let the traffic flow, which it does by itself."""
    time.sleep(0.5)


def _swap_model(stage: Stage) -> None:
    """Activate the packaged model under another name, or the first one again."""
    registry = Registry(stage.system.settings.model_dir)
    if len(registry.versions()) == 1:
        copy = stage.system.state_dir / "renamed"
        shutil.copytree(ESHOP, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps(manifest | {"name": "renamed"}))
        registry.publish(copy)
    registry.activate(next(version.version for version in registry.versions() if not version.active))


def _cut_network(stage: Stage) -> None:
    for proxy in (stage.system.kafka_proxy, stage.system.redis_proxy):
        proxy.reset_peer()


def _erase_visitor(stage: Stage) -> None:
    """Erase one of all visitors who came so far; one who comes again afterwards counts as new."""
    victim = stage.rng.choice(stage.sampler.visitors())
    stage.sampler.leave([victim])
    asked_for = ids.ids_of(stage.system.settings, [victim])
    (erased,) = erase.erase(stage.system.settings, stage.system.direct, asked_for, ERASED_LIMIT_S)
    seconds = erased.receipt.seconds if erased.receipt else float("inf")
    stage.check(f"erased within {ERASED_LIMIT_S:g} s", seconds <= ERASED_LIMIT_S)


WEIGHTS: dict[str, tuple[int, Callable[[Stage], None]]] = {
    "ingest": (100, _ingest),
    "verify": (10, lambda stage: None),  # the round's end
    "kill-taskmanager": (4, lambda stage: processes.kill_task_manager(stage, 1)),
    "kill-python": (4, lambda stage: processes.kill_python_worker(stage, 1)),
    "kill-jobmanager": (1, lambda stage: processes.kill_job_manager(stage, 1)),
    "restart-redis": (4, lambda stage: services.redis_down(stage, 1)),
    "cut-redis-tail": (1, lambda stage: services.redis_loses_its_tail(stage, 1)),
    "restart-kafka": (2, lambda stage: services.restart_kafka(stage, 1)),
    "cut-network": (4, _cut_network),
    "forget-scripts": (4, lambda stage: services.script_flush(stage, 1)),
    "swap-model": (4, _swap_model),
    "erase-visitor": (4, _erase_visitor),
}


@dataclass(frozen=True)
class Round(Scenario):
    """The actions up to a `verify`, while as many clicks as they ingest go through."""

    events: int = 0


def rounds(seed: int, names: Sequence[str] = (), actions: int = ACTIONS) -> list[Round]:
    """Return the rounds that the seed draws; raise SettingsError if scenarios are named, which it can't honour."""
    if names:
        raise SettingsError("the random profile takes no scenarios", "leave --scenario out")
    rng = random.Random(f"{seed}/actions")
    drawn = rng.choices(list(WEIGHTS), [weight for weight, _ in WEIGHTS.values()], k=actions)
    drawn_rounds, begun = [], 0
    for place, action in enumerate(drawn, 1):
        if action == "verify" or place == actions:
            drawn_rounds.append(_round(len(drawn_rounds) + 1, drawn[begun:place]))
            begun = place
    return drawn_rounds


def _round(number: int, drawn: list[str]) -> Round:
    ingests = 1 + drawn.count("ingest")

    def act(stage: Stage, _dose: float) -> None:
        for action in drawn:
            WEIGHTS[action][1](stage)

    faults = " ".join(action for action in drawn if action not in ("ingest", "verify"))
    clicks = max(100, ingests * CLICKS_AN_INGEST)
    return Round(f"X{number}", faults or "ingest only", act, "round", traffic_s=max(3.0, ingests / 2), events=clicks)
