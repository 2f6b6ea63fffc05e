"""up, down: the services of a state folder."""

import typer

from jobs.commands.shared import AsJson, chosen, load_settings, note, print_json, say


def register(app: typer.Typer) -> None:
    for command in (up, down):
        app.command()(command)


def up(as_json: AsJson = False) -> None:
    """Start Kafka, Redis and Flink, make the topics, apply the Feast definitions.

    Services that run already stay as they are. A service of your own is used and not started: name it with
    LIVESHELF_KAFKA_BOOTSTRAP, LIVESHELF_REDIS_URL or LIVESHELF_FLINK_REST_URL.

    \b
    Examples:
      liveshelf up
      LIVESHELF_KAFKA_BOOTSTRAP=broker:9092 liveshelf up
    """
    from jobs.cluster import runtime
    from jobs.operate import audit
    from jobs.operate.bring_up import bring_up

    settings = load_settings()
    note(chosen(settings))
    with audit.recorded(settings.state_dir, "up", profile=settings.profile) as outcome:
        running = bring_up(settings)
        addresses = {name: runtime.without_password(running.address(name)) for name in runtime.SERVICES}
        outcome |= addresses
    if as_json:
        return print_json({**addresses, "metrics": running.metrics_urls})
    for name, address in addresses.items():
        say(f"{name:6} {address}")
    note("next: liveshelf submit all, then liveshelf replay eshop2008 --since 2008-08-01 --shift-to-now")


def down() -> None:
    """Stop all that `up` started, jobs included. Topics, Redis' content and checkpoints stay in the state folder.

    \b
    Example:
      liveshelf stop features && liveshelf stop rankings && liveshelf down
    """
    from jobs.cluster import runtime
    from jobs.operate import audit

    settings = load_settings()
    with audit.recorded(settings.state_dir, "down") as outcome:
        outcome["processes"] = stopped = runtime.down(settings)
    say(f"{stopped} processes stopped in {settings.state_dir}")
