"""status, doctor: what runs, and what is wrong."""

from typing import TYPE_CHECKING

import typer

from jobs.commands.shared import AsJson, load_settings, note, print_json, say
from jobs.errors import LiveshelfError

if TYPE_CHECKING:
    from jobs.connect.fact_topics import State
    from jobs.operate.served import ActiveShelves, Served
    from jobs.settings import Settings


def register(app: typer.Typer) -> None:
    for command in (status, doctor):
        app.command()(command)


def status(as_json: AsJson = False) -> None:
    """Say what runs: addresses, processes, memory, slots and jobs; what was refused; which model and shelves serve.

    It looks at one system, that of LIVESHELF_STATE_DIR: a folder, `.liveshelf` in the current one by default. The model
    is the one that the running rankings job serves; if the settings name another one, both are shown.

    \b
    Examples:
      liveshelf status
      liveshelf status --json | jq -r '.flink.jobs[] | .name + " " + .state'
      liveshelf status --json | jq -r .model.state
      liveshelf status --json | jq -r '.redis.address, .shelves.version'
    """
    from jobs.cluster import runtime
    from jobs.operate import quiet
    from jobs.operate.served import Served, active_shelves, served
    from jobs.operate.workers import PROBE

    settings = load_settings()
    services = runtime.status(settings)
    unread = runtime.unread_consents(settings)
    refusals = quiet.refused(settings, runtime.current(settings))
    topics = _fact_topics(settings) if services["kafka"]["state"] == "running" else {}
    model, chosen_model = served(settings, services["flink"].get("jobs", [])), Served.of(settings.model_dir)
    shelves = active_shelves(settings)
    if as_json:
        seen = {"state_dir": settings.state_dir, "model": model, "model_of_settings": chosen_model, "shelves": shelves}
        seen["fact_topics"] = {topic: state.records for topic, state in topics.items()}
        seen |= {"consents_unread": unread, "refused": {refusal.name: refusal.count for refusal in refusals}}
        return print_json(services | seen)
    say(f"state  {settings.state_dir}")
    for name, service in services.items():
        say(_status_line(name, service).rstrip())
    for job in services["flink"].get("jobs", []):
        if job["name"] == PROBE:
            continue  # it looked at the workers' Python, and has ended
        say(f"job    {job['state']:14} {job['name']}  {job['id']}")
    for topic, state in topics.items():
        say(f"facts  {'look' if state.fault else 'ok':14} {topic}, {state.fault or f'{state.records:,} offsets'}")
    for refusal in refusals:
        if refusal.count:
            say(f"{'quiet' if refusal.ok else 'look'}  {refusal.name:14} {refusal}")
    say(_model_line(model))
    if model.job_id and (model.folder, model.version) != (chosen_model.folder, chosen_model.version):
        say(f"{_model_line(chosen_model)}  (named by the settings; the running job serves the one above)")
    say(_shelves_line(shelves))
    if unread:
        say(f"consent {unread:,} records weren't understood: liveshelf doctor names them")
    if all(service["state"] == "stopped" for service in services.values()):
        note("nothing runs in that folder; to look at another system: LIVESHELF_STATE_DIR=FOLDER liveshelf status")


def _fact_topics(settings: "Settings") -> "dict[str, State]":
    """Return what the topics of item facts are like, those of the shop's own included."""
    from jobs.cluster import runtime
    from jobs.connect import fact_topics
    from jobs.operate.facts import contracts_of

    try:
        topics = [contract.topic for contract in contracts_of(settings)]
        return fact_topics.states(runtime.current(settings).kafka_bootstrap, topics)
    except LiveshelfError as error:
        note(f"the topics of item facts: {error}")
        return {}


def _model_line(model: "Served") -> str:
    """Return a model's state, version, reason and folder as one line."""
    place = f"in {model.folder}" if model.folder else ""
    return "  ".join(filter(None, [f"model  {model.state:14} {model.version}".rstrip(), model.reason, place]))


def _shelves_line(shelves: "ActiveShelves") -> str:
    """Return the active version of shelves, what is wrong with it, and its shelves, as one line."""
    state = "refused" if shelves.refused else "active" if shelves.version else "none"
    place = "" if shelves.version else f"in {shelves.folder}"
    return "  ".join(
        filter(
            None,
            [f"shelves {state:13} {shelves.version}".rstrip(), shelves.refused, ", ".join(shelves.shelves), place],
        )
    )


def _status_line(name: str, service: dict) -> str:
    slots = f"{service['slots_free']} of {service['slots_total']} slots free" if "slots_total" in service else ""
    process = f"pid {service['pid']}, {service['rss_mb']} MiB" if service["pid"] else ""
    parts = [service["address"], "" if service["embedded"] else "your own", process, slots]
    return f"{name:6} {service['state']:14} " + ", ".join(filter(None, parts))


def doctor(as_json: AsJson = False) -> None:
    """Check Python, Java, jars, ports, memory, disk, Kafka, Redis, Flink, what was refused, the registry, the model.

    Prints the fix beside whatever is wrong, and exits with 1 then.

    \b
    Examples:
      liveshelf doctor
      liveshelf doctor --json | jq '.[] | select(.ok | not)'
    """
    from dataclasses import asdict

    from jobs.operate.doctor import checks

    results = checks(load_settings())
    if as_json:
        print_json([asdict(check) for check in results])
    else:
        for check in results:
            say(f"{'ok   ' if check.ok else 'WRONG'}  {check.name}: {check.found}")
            if not check.ok:
                say(f"       wanted: {check.wanted}\n       fix: {check.fix}")
    wrong = [check.name for check in results if not check.ok]
    if wrong:
        raise LiveshelfError(f"not as it should be: {', '.join(wrong)}", "see each line above")
