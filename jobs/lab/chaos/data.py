"""D and M: events that are wrong, too many or too long, and models that can't serve."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from jobs.errors import ModelError
from jobs.flow import submissions
from jobs.lab.chaos.stage import Scenario, Stage
from jobs.lab.chaos.traffic import half_by_one, thirty_hours
from jobs.operate import rebuild
from models.serving.registry import ACTIVE, Registry

REFUSAL_LIMIT_S = 30.0


def bad_data(stage: Stage, _strings: float) -> None:
    """Do nothing: the stream itself holds D1 to D4, and D5's strings."""
    before = stage.system.restarts()
    stage.traffic.join()
    stage.check("no restart", stage.system.restarts() == before)


def replay_everything(stage: Stage, times: float) -> None:
    """D11: let the features job read the whole topic again onto the filled store; no byte may change."""
    stage.traffic.join()
    for _ in range(int(times)):
        stage.system.wait_read()
        before = _features(stage)
        (note,) = (job for job in submissions.noted(stage.system.state_dir) if job.job == "features")
        rebuild.features(stage.system.state_dir, stage.system.running.flink_rest_url, note)
        stage.system.wait_working()
        stage.recovery_s.append(round(stage.system.wait_read(), 1))
        stage.check("no byte of a feature changed", _features(stage) == before)


def _features(stage: Stage) -> dict[bytes, dict[bytes, bytes]]:
    with stage.system.redis() as client:
        keys = [key for key in client.scan_iter(count=1000) if client.type(key) == b"hash"]
        return {key: client.hgetall(key) for key in keys}


def broken_models(stage: Stage, _all: float) -> None:
    """Activate versions that are broken in every way, without the check; the version before must go on serving."""
    registry, before = Registry(stage.system.settings.model_dir), stage.system.restarts()
    good = registry.active().version
    active = (registry.folder / ACTIVE).read_bytes()
    for number, (name, damage) in enumerate(DAMAGES.items()):
        bad = registry.folder / f"broken-{number}"
        shutil.copytree(registry.folder / good, bad, dirs_exist_ok=True)
        damage(bad)
        stage.check(f"`models activate` refuses {name}", _refuses(registry, bad.name))
        (registry.folder / ACTIVE).write_text(json.dumps({"version": bad.name, "activated_at_ms": 1, "before": [good]}))
        stage.check(f"the job refuses {name}", _refused_by_job(registry, bad.name))
    (registry.folder / ACTIVE).write_bytes(active)
    for bad in registry.folder.glob("broken-*"):
        shutil.rmtree(bad)
    stage.check("no restart", stage.system.restarts() == before)


def _refuses(registry: Registry, version: str) -> bool:
    try:
        registry.bundle(version)
    except ModelError:
        return True
    return False


def _refused_by_job(registry: Registry, version: str) -> bool:
    deadline_s = time.monotonic() + REFUSAL_LIMIT_S
    while time.monotonic() < deadline_s:
        refused = registry.refused()
        if refused is not None and refused.version == version:
            return True
        time.sleep(0.1)
    return False


def _signed(version: Path, model: bytes) -> None:
    """Return another model with a manifest that vouches for it."""
    (version / "model.onnx").write_bytes(model)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(model).hexdigest()
    (version / "manifest.json").write_text(json.dumps(manifest))


def _truncated(version: Path) -> None:
    model = (version / "model.onnx").read_bytes()
    _signed(version, model[: len(model) // 2])


def _changed_byte(version: Path) -> None:
    model = bytearray((version / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 0xFF
    (version / "model.onnx").write_bytes(model)


def _no_numbers(version: Path) -> None:
    """Overwrite a quarter of the file, the weights in its middle, with NaN (little-endian float32)."""
    model = bytearray((version / "model.onnx").read_bytes())
    begin, words = len(model) // 2 & ~3, len(model) // 16
    model[begin : begin + 4 * words] = b"\x00\x00\xc0\x7f" * words
    _signed(version, bytes(model))


def _unknown_operator(version: Path) -> None:
    _signed(version, (version / "model.onnx").read_bytes().replace(b"TopK", b"TopQ"))


def _other_input(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["inputs"][0]["name"] = "products"
    (version / "manifest.json").write_text(json.dumps(manifest))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a truncated model": _truncated,
    "a wrong SHA-256": _changed_byte,
    "NaN weights": _no_numbers,
    "an unknown operator": _unknown_operator,
    "other input names": _other_input,
}

STREAM = "only the stream: repeats, disorder, late events, wrong clocks, poison"
KINDS = len(DAMAGES)
SCENARIOS = (
    Scenario("D1-D5", STREAM, bad_data, "strings", 5000, 10_000, 10),
    Scenario("D6", "half of all events are one visitor's", bad_data, "events", 0, 8_000, 20, half_by_one),
    Scenario("D7", "twenty times the load", bad_data, "events", 0, 8_000, 4),  # of the 100 events/s of `pr`
    Scenario("D9", "one session of 30 hours", bad_data, "events", 0, 10_000, 20, thirty_hours),
    Scenario("D11", "the whole topic read again onto filled stores", replay_everything, "times", 0, 2),
    Scenario("M1", "broken models become the active version", broken_models, "kinds", KINDS, KINDS, 8),
)
