"""chaos: the system under faults."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.commands.files import output_file
from jobs.commands.shared import load_settings, note, print_json
from jobs.errors import MismatchError


def register(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    profile: Annotated[
        Literal["pr", "nightly", "soak", "random", "attacks", "cluster"], typer.Option(help="How large the doses are.")
    ] = "pr",
    scenario: Annotated[str, typer.Option(metavar="F1,R2,…", help="Only these; the profile's if empty.")] = "",
    seed: Annotated[int, typer.Option(help="First of the seeds.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 2,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="How long the soak takes (60), or each attack (1).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
) -> None:
    """Hurt a running system of its own in named ways and prove that nothing is lost or wrong; 7 if something is.

    Services are started in STATE_DIR/chaos, on free ports. jobs/lab/chaos/README.md describes the scenarios. `random`
    draws weighted actions from the seed. `soak` is one long run at 2,000 events/s, with the seed's faults, that also
    watches memory and open files. `attacks` is what a stranger with a page's key may try (A1 to A6). All but these two
    need the extra test: make test-env. `cluster` hurts a cluster of an operator's own (C1 to C7): Flink from its own
    scripts, three brokers, Redis with Sentinels. C5 needs root, C6 moto_server on PATH.

    \b
    Examples:
      liveshelf chaos --profile pr --json chaos.json
      liveshelf chaos --scenario F1,R2 --seed 7 --seeds 1
      liveshelf chaos --profile nightly
      liveshelf chaos --profile soak --minutes 60 --json soak.json
      liveshelf chaos --profile attacks --minutes 5 --scenario A1,A3
      liveshelf chaos --profile cluster --seeds 1
    """
    import shutil

    import msgspec

    from jobs.lab.chaos import attacks, soak
    from jobs.lab.chaos.own.system import OwnSystem
    from jobs.lab.chaos.run import acts, run
    from jobs.lab.chaos.system import System
    from jobs.operate import extras

    settings = load_settings()
    names = [name.strip() for name in scenario.split(",") if name.strip()]
    long = profile in ("soak", "attacks")
    minutes = minutes or (60 if profile == "soak" else 1)
    plan = [] if long else acts(profile, names, range(seed, seed + seeds))
    strangers = attacks.chosen(names) if profile == "attacks" else []
    if plan:
        extras.require(f"liveshelf chaos --profile {profile}", "hypothesis")  # it makes D5's damaged records
    output_file(json_file, "--json")
    folder = settings.state_dir / "chaos"
    shutil.rmtree(folder, ignore_errors=True)
    how = (f"--minutes {minutes:g}" if long else f"--seeds {seeds}") + (f" --scenario {scenario}" if scenario else "")
    again = f"liveshelf chaos --profile {profile} --seed {seed} {how}"
    note(f"to repeat it: {again}")

    def keep(found: dict) -> None:
        if json_file:
            document = msgspec.json.encode({"repeat": again} | found, enc_hook=str)
            json_file.write_bytes(msgspec.json.format(document, indent=2))

    if strangers:
        result = attacks.run(folder, strangers, minutes, note, keep)
    elif plan:
        result = run(folder, plan, note, keep, OwnSystem if profile == "cluster" else System)
    else:
        result = soak.run(folder, minutes, seed, note, keep)
    if not json_file:
        print_json(result)
    _refuse_failures(result, again)


def _refuse_failures(result: dict, again: str) -> None:
    """Raise MismatchError that names the scenarios that failed."""
    failed = [
        each["scenario"] + (f" (seed {each['seed']})" if "seed" in each else "")  # an attack has none
        for each in result.get("outcomes", [])
        if not each["ok"]
    ]
    if not result["ok"]:
        raise MismatchError(f"failed: {', '.join(failed) or 'the soak'}", again)
