"""What must be there before a job is submitted: the applied Feast definitions, and the topics."""

import os
import subprocess
import sys

from jobs.cluster.runtime import Runtime
from jobs.connect import addresses, consent_topic, fact_topics, kafka_admin, users
from jobs.errors import DefinitionError
from jobs.features import definitions
from jobs.flow.source import MAX_LETTER_BYTES
from jobs.operate import facts
from jobs.settings import Settings

# Feast's own script may lie in another folder than Python. -P: the current folder's modules don't replace Feast's.
FEAST = (sys.executable, "-P", "-m", "jobs.operate.feast_apply")


def apply(settings: Settings, redis_url: str) -> None:
    """Run `feast apply` against the running system; raise `DefinitionError` with what Feast says.

    It takes 10 to 20 s of processor time, most of it Feast's imports. So `up` runs it beside the services' start.
    """
    definitions.write_store_yaml(settings, addresses.as_user(redis_url, users.APP), definitions.store_yaml(settings))
    path = settings.state_dir.resolve() / "apply" / "feature_store.yaml"  # Feast deletes what is defined no more
    definitions.write_store_yaml(settings, redis_url, path)
    command = [*FEAST, str(facts.path(settings)), "-c", str(settings.feature_repo.resolve()), "-f", str(path), "apply"]
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "FEAST_USAGE": "False"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise DefinitionError(
            f"feast apply failed: {' '.join(reason)}", f"correct {settings.feature_repo}/definitions.py"
        )


def create_topics(settings: Settings, runtime: Runtime) -> None:
    """Make the topics that don't exist yet. In the secure profile, give the rights to use them.

    Topics of the shop's own are those that the views read which were applied last. A letter may be larger than a
    record, because it holds the record as JSON, where a byte may take six.
    """
    kafka = addresses.as_user(runtime.kafka_bootstrap, users.ADMIN)
    plain = (settings.events_topic, settings.rankings_topic)
    letters = (settings.dead_topic, settings.late_topic, settings.items_dead_topic)
    kafka_admin.create_topics(kafka, dict.fromkeys(plain, settings.topic_partitions))
    kafka_admin.create_topics(kafka, {settings.consent_topic: settings.topic_partitions}, consent_topic.TOPIC)
    of_facts = [contract.topic for contract in facts.contracts_of(settings)]
    fact_topics.create(kafka, of_facts)
    larger = {"max.message.bytes": str(MAX_LETTER_BYTES)}
    kafka_admin.create_topics(kafka, dict.fromkeys(letters, settings.topic_partitions), larger)
    if not settings.kafka_bootstrap:  # in a broker of the user's own, `doctor` says it
        consent_topic.mend(kafka, settings.consent_topic, consent_topic.judged(settings))
    if settings.profile == "secure" and not settings.kafka_bootstrap:
        kafka_admin.grant(kafka, users.kafka_rights(settings, of_facts))
