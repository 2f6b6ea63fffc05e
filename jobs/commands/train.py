"""train, learn, evaluate: from clicks to a bundle, and what it is worth."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import models as versions
from jobs.commands.files import output_folder
from jobs.commands.shared import AsJson, AskedOf, load_settings, note, note_feast, print_json, say
from jobs.contract.printable import printable_json
from jobs.errors import DataError, ModelError, SettingsError

if TYPE_CHECKING:
    from jobs.learn.loop import Outcome
    from jobs.settings import Settings
    from models.clicks.dataset import Session


Key = Annotated[
    Path | None, typer.Option(help="Private key to sign a new version with, where LIVESHELF_MODEL_PUBLIC_KEY is set.")
]


Sessions = Annotated[
    Path,
    typer.Option(
        help="Clicks: text (a session a line, oldest item first, sessions in time order), .tsv with SessionId ItemId "
        "Time, or events of the contract as .jsonl or .parquet; .gz of each. Parquet may hold the features' values at "
        "each event (view:feature or view__feature), as Feast's get_historical_features gives them."
    ),
]


def register(app: typer.Typer) -> None:
    for command in (train, evaluate, learn):
        app.command()(command)


# What learning on keeps as it was, or takes no part in.
NOT_WITH_FROM = (
    "name", "trials", "minutes", "threads", "product", "loss", "min_session", "min_item_support", "resume", "items",
    "segments",
)  # fmt: skip


def train(
    ctx: typer.Context,
    sessions: Sessions,
    out: Annotated[Path, typer.Option(help="Folder of the bundle; what it holds is replaced.")],
    name: Annotated[str, typer.Option(help="Name of the bundle; the folder's if empty.")] = "",
    trials: Annotated[int, typer.Option(min=0, help="Recipes to try first (Optuna), in half of the time at most.")] = 0,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Time to train in; epochs are left out to keep to it.")
    ] = 40.0,
    seed: Annotated[int, typer.Option(help="The same seed and threads on the same machine give the same model.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Of the processor; 0 for one a core, up to 8.")] = 0,
    product: Annotated[
        str,
        typer.Option(
            help="exact; fast: the item product in int8 first; indexed: from 200,000 items on, the nearest blocks of "
            "items only. Where lists aren't right, the one before is taken."
        ),
    ] = "indexed",
    base: Annotated[str, typer.Option("--from", help="Learn on from this version, or bundle, with new sessions.")] = "",
    publish: Annotated[bool, typer.Option(help="With --from: publish and activate it, unless it is worse.")] = False,
    loss: Annotated[str, typer.Option(help="cross_entropy or bpr_max.")] = "cross_entropy",
    min_session: Annotated[int, typer.Option(min=1, help="Clicks of a session at least, to be learned from.")] = 1,
    min_item_support: Annotated[
        int, typer.Option(min=1, help="Clicks on an item at least, to be in the catalogue.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was interrupted; give its other arguments.")
    ] = False,
    items: Annotated[
        str,
        typer.Option(
            help="What is known of the shop's items, as `liveshelf items load` takes it: items that are new then stand "
            "in lists by their category, brand, colour and price, if that answers better."
        ),
    ] = "",
    segments: Annotated[
        int, typer.Option(min=0, max=64, help="Groups into which visitors are divided, for shelves' rules; 0 for none.")
    ] = 8,
    consent: AskedOf = "",
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Train the session model on clicks and write its bundle: a model.onnx, its vocabulary, its manifest.

    Sessions are split by time: the oldest 70 % teach, the next 15 % choose, the last 15 % are looked at once. The
    table shows the model on both beside every baseline. What ships has then learned from all of them. The run, its
    pictures and the bundle are kept in LIVESHELF_TRACKING_DIR, for `mlflow ui`. Until the bundle stands, the weights of
    each epoch are kept in OUT.training: see --resume, and `liveshelf models export`.

    With --items, the bundle also says where an item stands that no click has shown yet. A worker lists it seconds after
    its record. Items that come after the teaching part judge that; where they are few, each tenth item is held out.

    With --from, a version learns on from sessions that are newer than its own: items that are new join its vocabulary,
    and the table shows it beside the active version, or else the one that it came from, on the newest 15 %.

    Of a file of events, those of visitors who withdrew or were erased are left out.

    \b
    Examples:
      liveshelf train --sessions clicks.tsv.gz --out models/artifacts/mine
      liveshelf train --sessions clicks.tsv.gz --items catalogue.csv --out mine
      liveshelf train --from mine-0123456789ab --sessions today.tsv --out next --publish
      LIVESHELF_MODEL_DIR=models/artifacts/mine liveshelf submit rankings
    """
    from jobs.operate import extras

    extras.require("liveshelf train", *extras.TRAINING)
    from jobs.features.ranker_inputs import ranker_inputs
    from jobs.person.asked import ask
    from models.clicks.dataset import fingerprint
    from models.clicks.sessions import read_sessions
    from models.quality.measure import table
    from models.serving.bundle import check_name

    output_folder(out, "--out")
    name = name or out.absolute().name
    check_name(name, "--name" if name != out.absolute().name else f"--out {out}")
    settings = load_settings()
    note_feast()
    features = ranker_inputs(settings)
    _check_options(ctx, bool(base), publish)
    if base:
        if publish:
            versions.registry_of_settings(key)  # a key that can't sign is refused now
        _check_inputs(settings, features, base)
    facts_of = _facts_of(items) if items else {}
    asked = ask(settings, consent)
    try:
        clicks = read_sessions(sessions, features, asked.counts)  # before torch, whose import takes seconds
    except DataError:
        if asked.left_out:  # perhaps nothing is left
            note(asked.told())
        raise
    note(asked.told())
    if features and not any(event.context for event in clicks[0]):
        note(f"the sessions hold no values of {', '.join(features)}: the model gives them no weight")
    source = {"file": sessions.name, "file_sha256": fingerprint(sessions)}
    if base:
        found = _train_on(settings, base, clicks, out, source, seed, publish, key)
        return print_json(found) if as_json else say(table(found))
    from models.runs.tracking import train_recorded
    from models.session.head import PRODUCTS
    from models.session.losses import NAMES
    from models.session.recipe import Recipe

    if loss not in NAMES:
        raise SettingsError(f"--loss is {loss!r}", f"use one of {', '.join(NAMES)}")
    if product not in PRODUCTS:
        raise SettingsError(f"--product is {product!r}", f"use one of {', '.join(PRODUCTS)}")
    recipe = Recipe.for_sessions(clicks)._replace(loss=loss, min_session=min_session, min_item_support=min_item_support)
    how = {"seed": seed, "minutes": minutes, "trials": trials, "threads": threads, "product": product, "recipe": recipe}
    how |= {"context_features": features, "resume": resume, "facts_of": facts_of, "segments": segments}
    found, _ = train_recorded(settings.tracking_dir, clicks, out, name, source, tell=note, **how)
    print_json(found) if as_json else say(table(found))


def _check_options(ctx: typer.Context, learns_on: bool, publish: bool) -> None:
    """Raise SettingsError for an option that would be passed over."""
    for name in ctx.params:
        if getattr(ctx.get_parameter_source(name), "name", "") != "COMMANDLINE":
            continue
        option = f"--{name.replace('_', '-')}"
        if learns_on and name in NOT_WITH_FROM:
            fix = "leave it out, or train anew without --from: learning on keeps how the version was trained"
            raise SettingsError(f"{option} and --from don't go together", fix)
        if (name == "publish" and not learns_on) or (name == "key" and not publish):
            needs = "--from" if name == "publish" else "--publish"
            raise SettingsError(f"{option} goes with {needs} only", "publish a bundle with `liveshelf models publish`")


def _facts_of(source: str) -> dict[str, dict]:
    """Return the facts of each item that workers know; titles and addresses are for pages only."""
    from jobs.commands.items import contracts_of_shop, rows_of

    contracts = contracts_of_shop()
    known = {field.name for contract in contracts for field in contract.fields if not field.is_shown_only}
    return {
        item: {name: value for name, value in said.items() if name in known}
        for item, said in rows_of(source, None, contracts)
    }


def _check_inputs(settings: "Settings", features: list[str], base: str) -> None:
    """Raise ModelError for a version that reads other features than the feature service gives."""
    from models.serving.bundle import read_manifest

    known = read_manifest(_place(base))["context_features"]
    if known != features:
        raise ModelError(
            f"{base} reads {known}, and the feature service {settings.context_service!r} gives {features}",
            "train anew without --from: learning on keeps a model's inputs",
        )


def _place(base: str) -> Path:
    """Return the folder of a version, or of a bundle."""
    return Path(base) if (Path(base) / "manifest.json").is_file() else versions.registry_of_settings().place(base)


def _train_on(
    settings: "Settings",
    base: str,
    clicks: list["Session"],
    out: Path,
    source: dict[str, str],
    seed: int,
    publish: bool,
    key: Path | None,
) -> dict[str, dict]:
    """Run `train --from`; raise ModelError where what should be published is worse than what serves."""
    from models.serving.registry import is_registry, serving_folder

    folder, registry = settings.model_dir, versions.registry_of_settings(key) if publish else None
    start = _place(base)
    against = serving_folder(folder) if publish or is_registry(folder) else start
    from models.runs.tracking import learn_recorded

    judged = learn_recorded(settings.tracking_dir, start, clicks, out, source, against=against, seed=seed, tell=note)
    if publish and judged.worse:
        fell = ", ".join(f"{name} {judged.before[name]:.4f} → {judged.after[name]:.4f}" for name in judged.worse)
        raise ModelError(f"{out} is worse than {against.name} on the newest sessions: {fell}", "give more sessions")
    if registry:
        version = versions.publish_recorded(registry, out)
        versions.change_recorded("activate", lambda registry: registry.activate(version), version=version)
        note(f"{version} serves")
    return judged._asdict()


def learn(
    sessions: Annotated[int, typer.Option(min=0, help="Learn after so many new sessions (0: not by number).")] = 5_000,
    minutes: Annotated[float, typer.Option(min=0, help="Learn after so many minutes (0: not by time).")] = 60.0,
    recall: Annotated[
        float,
        typer.Option(min=0, max=1, help="Learn when the last hour's recall@20 is below this share of the published."),
    ] = 0.8,
    psi: Annotated[float, typer.Option(min=0, help="Learn when the items' PSI is above this (0: never).")] = 0.25,
    once: Annotated[bool, typer.Option("--once", help="Learn once from what the topic holds, and end.")] = False,
    key: Key = None,
) -> None:
    """Learn on from the events topic, and activate each new version that isn't worse than the one that serves.

    A session counts when it is over. What was learned is noted in the version, so this can be ended and started again
    at any time. Prints a line of JSON for each try.

    \b
    Examples:
      LIVESHELF_MODEL_DIR=versions liveshelf learn
      LIVESHELF_MODEL_DIR=versions liveshelf learn --sessions 20000 --minutes 0 --psi 0
      LIVESHELF_MODEL_DIR=versions liveshelf learn --once
    """
    import msgspec

    from jobs.operate import extras

    extras.require("liveshelf learn", *extras.TRAINING)
    settings, registry = load_settings(), versions.registry_of_settings(key)
    from jobs.cluster import runtime
    from jobs.connect import consent_topic
    from jobs.learn.loop import LONGEST_SESSION_S, Loop, learned_until_s
    from jobs.learn.triggers import Triggers
    from jobs.learn.visits import Tail, Visits

    until_s = learned_until_s(registry)
    since_ms = round(max(0.0, until_s - LONGEST_SESSION_S) * 1000)
    bootstrap = runtime.attach(settings, ("kafka",)).kafka_bootstrap
    consents = consent_topic.Follower(bootstrap, settings.consent_topic, settings.consent)
    tail = Tail(bootstrap, settings.events_topic, since_ms, consents.now)
    visits, bounds = Visits(settings.ranker.session_gap_s, until_s), Triggers(sessions, minutes, recall, psi)
    loop = Loop(registry, tail, visits, consents.now, bounds, note, settings.tracking_dir)
    try:
        loop.catch_up()
        while True:
            outcome = loop.learn("asked to") if once else loop.step()
            if outcome:
                _note_activation(settings, outcome)
                say(printable_json(msgspec.json.encode(outcome).decode()))
            if once:
                return
    finally:
        tail.close()


def _note_activation(settings: "Settings", outcome: "Outcome") -> None:
    from jobs.operate import audit

    if outcome.version:
        told = {"reason": outcome.reason, "sessions": outcome.sessions}
        came = {"version": outcome.version, "before": outcome.began_from}
        audit.record(settings.state_dir, "learn", told, audit.DONE, came)


def evaluate(
    prefixes: Annotated[Path, typer.Option(help="Questions: `item item …<TAB>target` a line.")],
    model: Annotated[Path | None, typer.Option(help="Folder of a bundle.")] = None,
    lists: Annotated[Path | None, typer.Option(help="Ranked lists made elsewhere, `item item …` a line.")] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also what learns from --sessions by counting.")
    ] = False,
    sessions: Annotated[Path | None, typer.Option(help="What the baselines learn from; formats as for train.")] = None,
    consent: AskedOf = "",
    as_json: AsJson = False,
) -> None:
    """Measure recall, MRR and nDCG at 5, 10 and 20, of a bundle, of baselines, or of lists made elsewhere.

    Every item of the catalogue is a candidate, seen items aren't filtered, unknown targets are misses, and a target
    ranks behind all items with its score.

    \b
    Examples:
      liveshelf evaluate --model models/artifacts/mine --prefixes test.tsv --json
      liveshelf evaluate --model DIR --prefixes test.tsv --baselines --sessions train.txt.gz
      liveshelf evaluate --lists lists.tsv --prefixes test.tsv
    """
    from jobs.operate import extras
    from models.quality.measure import measure

    if baselines != (sessions is not None):
        raise SettingsError("--baselines and --sessions belong together", "give both, or neither")
    if not (model or lists or baselines):
        raise SettingsError("nothing to evaluate", "give --model, --lists or --baselines with --sessions")
    if baselines:
        extras.require("evaluate --baselines", "scipy")
    tell = note if sys.stderr.isatty() else lambda _: None
    if sessions is None:
        found = measure(prefixes, model, lists, None, tell)
    else:
        from jobs.person.asked import ask

        asked = ask(load_settings(), consent)
        found = measure(prefixes, model, lists, sessions, tell, asked.counts)
        note(asked.told())
    if not as_json:
        from models.quality.measure import table

        return say(table(found))
    print_json(_document(found))


def _document(found: dict[str, dict]) -> dict:
    """Return the model's, or else the lists', numbers at the top, and the baselines' under their names."""
    measured = {name: found[name] for name in ("model", "lists") if name in found}
    counted = {name: values for name, values in found.items() if name not in measured}
    (first, *others) = measured.items() or [("", {})]
    return first[1] | dict(others) | ({"baselines": counted} if counted else {})
