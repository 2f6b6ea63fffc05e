"""`docker/` can't be built here, so it is read: its versions, paths, settings and addresses are the code's."""

import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cluster import flink_config, kafka
from jobs.collect.networks import Proxies, address_of
from jobs.jvm import jars
from jobs.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DEPLOYMENTS = {
    job: yaml.safe_load((DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text())
    for job in ("features", "rankings")
}
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = dict(pin.split("==") for pin in PYPROJECT["optional-dependencies"]["run"] if "==" in pin)
IMAGE = f"liveshelf:{PYPROJECT['version']}"
IN_IMAGE = "/opt/liveshelf/"  # the repository's root there
# What only this machine's embedded cluster is told: its own Python, and quick starts of short-lived JVMs.
LOCAL = {"python.client.executable", "env.java.opts.client"}


def flink_properties() -> dict[str, str]:
    lines = COMPOSE["x-flink"]["environment"]["FLINK_PROPERTIES"].splitlines()
    return dict(line.split(": ", 1) for line in lines)


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "compose": flink_properties(),
    **{f"kubernetes {job}": each["spec"]["flinkConfiguration"] for job, each in DEPLOYMENTS.items()},
}


POLICIES = list(yaml.safe_load_all((DOCKER / "kubernetes" / "base" / "network.yaml").read_text()))


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_more_rights_than_it_needs(name: str):
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service.get("user") or name == "kafka"  # its image has a user of its own
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["tmpfs"][0] == "/tmp:exec,mode=1777"


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_no_pod_has_more_rights_than_it_needs(job: str):
    pod = DEPLOYMENTS[job]["spec"]["podTemplate"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
    assert rights["capabilities"] == {"drop": ["ALL"]}
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert [secret["defaultMode"] for secret in secrets] == [0o440, 0o440]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_only_a_jobs_own_pods_reach_its_open_ports():
    assert {policy["metadata"]["name"] for policy in POLICIES} == {
        each["metadata"]["name"] for each in DEPLOYMENTS.values()
    }
    for policy in POLICIES:
        own = {"podSelector": {"matchLabels": {"app": policy["metadata"]["name"]}}}
        assert policy["spec"]["podSelector"] == own["podSelector"]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        itself, *others = policy["spec"]["ingress"]
        assert itself == {"from": [own]}
        assert [rule["ports"] for rule in others] == [[{"port": 8081}], [{"port": 9249}]]
        assert all(rule["from"] for rule in others)


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_pages_of_deployments_show_addresses_with_tls(job: str):
    header = (DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text()
    assert "kafkas://" in header
    assert "rediss://" in header
    assert f"kafka-{job}" in header
    assert "redis://" not in header


def test_the_image_is_the_flink_that_pyflink_belongs_to():
    assert re.search(r"^FROM (\S+)$", DOCKERFILE, re.M)[1] == f"flink:{PINS['apache-flink']}-java17"


def test_image_installs_pinned_files_and_names_none_itself():
    assert "for section in build run" in DOCKERFILE
    assert "--require-hashes --requirement pinned.txt" in DOCKERFILE
    assert not re.search(r"[a-z]==\d", DOCKERFILE)


def test_the_images_python_is_one_that_the_project_takes():
    version = re.search(r"^ARG PYTHON=python(\d+)\.(\d+)$", DOCKERFILE, re.M)
    assert PYPROJECT["requires-python"] == ">=3.11,<3.13"
    assert (3, 11) <= (int(version[1]), int(version[2])) < (3, 13)


def test_everything_that_is_copied_is_there():
    sources = [source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for source in line.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "jobs", "models", "feature_repo"} <= set(
        sources
    )
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []


def test_image_gets_its_jars_from_the_code_that_knows_them(tmp_path, monkeypatch):
    from jobs.jvm import build

    assert "python -m jobs.jvm.build /opt/flink/lib" in DOCKERFILE
    made = {"contract": tmp_path / "liveshelf-1.jar", "connector": tmp_path / "flink-sql-connector-kafka-1.jar"}
    made["guard"] = tmp_path / "liveshelf-guard-1.jar"
    for jar in made.values():
        jar.write_bytes(b"jar")
    monkeypatch.setattr(build, "contract_jar", lambda: made["contract"])
    monkeypatch.setattr(build, "guard_jar", lambda: made["guard"])
    monkeypatch.setattr(jars, "flink_kafka_connector", lambda: made["connector"])
    (tmp_path / "lib").mkdir()
    build.main(tmp_path / "lib")
    python = f"flink-python-{PINS['apache-flink']}.jar"
    assert {jar.name for jar in (tmp_path / "lib").iterdir()} == {
        "liveshelf-1.jar",
        "liveshelf-guard-1.jar",
        "flink-sql-connector-kafka-1.jar",
        python,
    }


def test_the_connector_is_one_for_this_flink():
    """A connector's version ends with the Flink that it was built for; 2.2's was tried on 2.3."""
    assert jars.FLINK_KAFKA_CONNECTOR.split(":")[1] == "flink-sql-connector-kafka"
    assert jars.FLINK_KAFKA_CONNECTOR.rpartition("-")[2] in ("2.2", "2.3")
    assert PINS["apache-flink"].startswith("2.3.")


def test_broker_is_embedded_ones_version_and_takes_as_large_records():
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{jars.KAFKA.rpartition(':')[2]}"
    assert SERVICES["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"] == kafka.MAX_MESSAGE_BYTES


def test_redis_keeps_what_it_was_given():
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_own_images_have_the_projects_version():
    own = [SERVICES[name]["image"] for name in ("jobmanager", "taskmanager", "submit")]
    own += [each["spec"]["image"] for each in DEPLOYMENTS.values()]
    assert set(own) == {IMAGE}
    assert f"-t {IMAGE} " in DOCKERFILE


@pytest.mark.parametrize("image", [service["image"] for service in SERVICES.values()])
def test_an_image_has_a_version_and_no_registry(image: str):
    name, _, tag = image.partition(":")
    assert tag not in ("", "latest")
    assert "." not in name.split("/")[0]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_flink_is_told_what_the_embedded_one_is_told(name: str):
    wanted = {key: as_text(value) for key, value in flink_config.job_options(10_000, 1).items() if key not in LOCAL}
    told = CONFIGURATIONS[name]
    if name != "compose":
        wanted.pop("parallelism.default")  # the operator's spec.job.parallelism
    assert {key: as_text(told.get(key)) for key in wanted} == wanted


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_python_workers_take_no_managed_memory(name: str):
    """With true, cancelling a job with a Python operator killed the TaskManager."""
    assert CONFIGURATIONS[name]["python.fn-execution.memory.managed"] == "false"


def test_the_task_managers_memory_is_the_sum_of_its_parts():
    """The image's own configuration names another total, with which no TaskManager with these parts starts."""
    parts = "task.heap framework.heap framework.off-heap task.off-heap managed jvm-metaspace"
    names = [*(f"{part}.size" for part in parts.split()), "network.max", "jvm-overhead.max"]
    told = {name: int(flink_properties()[f"taskmanager.memory.{name}"].removesuffix("m")) for name in names}
    assert flink_properties()["taskmanager.memory.process.size"] == f"{sum(told.values())}m"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_flinks_page_takes_no_job_and_no_other_site(name: str):
    told = CONFIGURATIONS[name]
    assert {"web.submit.enable", "web.cancel.enable"} <= flink_config.PAGE.keys()
    assert {key: as_text(told[key]) for key in flink_config.PAGE} == dict.fromkeys(flink_config.PAGE, "false")
    assert told["web.access-control-allow-origin"] == "http://127.0.0.1:8081"
    cluster = flink_config.cluster(8081, 6123, 2, flink_config.TaskManagerMemory())
    assert cluster["web.access-control-allow-origin"] == "http://127.0.0.1:8081"
    assert {key: cluster[key] for key in flink_config.PAGE} == flink_config.PAGE


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_heartbeats_state_and_metrics_are_the_embedded_clusters(name: str):
    cluster = flink_config.cluster(8081, 6123, 2, flink_config.TaskManagerMemory())
    local = flink_config.on_this_machine(Path("/data/flink"))
    keys = ["heartbeat.interval", "heartbeat.timeout", "metrics.reporter.prom.factory.class"]
    if name == "compose":  # Kubernetes brings TaskManagers by itself
        keys.append("resourcemanager.standalone.start-up-time")
    told = CONFIGURATIONS[name]
    assert {key: as_text(told[key]) for key in keys} == {key: as_text(cluster[key]) for key in keys}
    assert told["state.backend.type"] == local["state.backend.type"]
    assert {"execution.checkpointing.dir", "execution.checkpointing.savepoint-dir"} <= set(told)


def test_the_taskmanagers_memory_is_the_embedded_ones():
    wanted = flink_config.TaskManagerMemory().config
    assert {key: flink_properties()[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_option_is_told_that_the_code_does_not_know(name: str):
    memory = flink_config.TaskManagerMemory()
    cluster = flink_config.cluster(1, 1, 1, memory)
    embedded = {*flink_config.job_options(1, 1), *flink_config.on_this_machine(Path("/data")), *cluster}
    elsewhere = {
        "metrics.reporter.prom.port",
        "taskmanager.memory.process.size",
        "high-availability.type",
        "high-availability.storageDir",
        "kubernetes.taskmanager.memory.limit-factor",
    }
    assert set(CONFIGURATIONS[name]) - embedded - elsewhere == set()


def test_every_setting_of_a_container_exists():
    lines = [line for line in DOCKERFILE.splitlines() if line.startswith("ENV")]
    names = set(re.findall(r"LIVESHELF_([A-Z_]+)", "\n".join(lines)))
    for service in SERVICES.values():
        own = [name for name in service.get("environment", {}) if name.startswith("LIVESHELF_")]
        names |= {name.removeprefix("LIVESHELF_") for name in own}
    for path in (DOCKER / "kubernetes").rglob("*.yaml"):
        names |= set(re.findall(r"LIVESHELF_([A-Z_]+)", path.read_text()))
    assert {"KAFKA_BOOTSTRAP", "REDIS_URL", "FLINK_REST_URL", "STATE_DIR"} <= names
    assert {name.lower() for name in names} - set(Settings.model_fields) == set()


def test_every_address_names_a_service():
    """host:port with a name for a host, in environments, commands and checks; localhost is for people outside."""
    text = (DOCKER / "compose.yaml").read_text()
    named = {host for host in re.findall(r"(?:://|@|: |\")([a-z][a-z-]*):\d{4,5}", text)} - {"localhost"}
    assert {"kafka", "redis", "jobmanager"} <= named
    assert named - set(SERVICES) == set()
    assert flink_properties()["jobmanager.rpc.address"] in SERVICES


def test_submitter_waits_for_services_that_can_say_they_are_well():
    for service in SERVICES.values():
        for name, waited in service.get("depends_on", {}).items():
            assert waited["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]
    assert set(SERVICES["submit"]["depends_on"]) == {"kafka", "redis", "jobmanager", "taskmanager"}
    assert SERVICES["submit"]["restart"] == "no"


def test_the_submitters_commands_exist():
    from jobs.cli import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    called = re.findall(r"liveshelf (\w+)", " ".join(SERVICES["submit"]["entrypoint"]))
    assert called == ["apply", "submit"]
    assert set(called) <= commands


def test_the_collector_finds_its_keys_where_they_are_mounted():
    """The collector is asked for and finds its keys where they are mounted."""
    collector = SERVICES["collector"]
    assert collector["profiles"] == ["collect"]
    assert collector["entrypoint"] == ["liveshelf", "collect"]
    (mount,) = (each.split(":") for each in collector["volumes"])
    files = [value for name, value in collector["environment"].items() if name.endswith("_KEYS")]
    assert len(files) == 2
    assert all(file.startswith(f"{mount[1]}/") for file in files)
    assert mount[2] == "ro"
    (port,) = collector["ports"]
    assert port.endswith(f":{Settings.model_fields['collector_port'].default}")


def test_the_collector_believes_the_networks_gateway_alone():
    """Docker shows what comes from this machine as the gateway: without it all visitors have one address."""
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    default = SERVICES["collector"]["environment"]["LIVESHELF_COLLECTOR_PROXIES"]
    listed = re.fullmatch(r"\$\{COLLECTOR_PROXIES:-(.+)\}", default)[1]
    assert listed == network["gateway"]
    proxies = Proxies(listed)
    assert proxies.client(network["gateway"], ["203.0.113.7"]) == address_of("203.0.113.7")
    other_container = network["gateway"].removesuffix(".1") + ".7"
    assert ip_address(other_container) in ip_network(network["subnet"])
    assert proxies.client(other_container, ["203.0.113.7"]) == address_of(other_container)


def test_the_collector_starts_once_its_topics_are_there():
    """It makes none: it has no right to, and no secret of who has."""
    waits = SERVICES["collector"]["depends_on"]
    assert waits["submit"] == {"condition": "service_completed_successfully"}
    assert "kafka-admin" not in str(SERVICES["collector"])


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_a_deployment_gets_its_jobs_secrets_and_no_other(job: str):
    header = (DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text()
    files = re.findall(r"--from-file=docker/secrets/(\S+)", header)
    assert files == ["ca.pem", f"kafka-{job}", "redis-job"]


def test_checkpoints_lie_in_a_volume_that_all_of_flink_sees():
    mounts = dict(each.split(":") for each in COMPOSE["x-flink"]["volumes"] if ":" in each)
    assert set(mounts) <= set(COMPOSE["volumes"])
    for key in ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir"):
        assert flink_properties()[key].startswith(f"file://{mounts['flink-state']}/")


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_a_deployment_runs_its_job(job: str):
    spec = DEPLOYMENTS[job]["spec"]
    arguments = spec["job"]["args"]
    script = arguments[arguments.index("-py") + 1]
    assert script.startswith(IN_IMAGE)
    assert (REPOSITORY / script.removeprefix(IN_IMAGE)).is_file()
    assert script.endswith(f"session_{job}.py")
    assert spec["job"]["jarURI"] == f"local:///opt/flink/opt/flink-python-{PINS['apache-flink']}.jar"
    assert spec["job"]["upgradeMode"] == "savepoint"


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_the_operators_schema_has_the_flink_version(job: str):
    """The definition of FlinkDeployment in operator 1.15.0 ends with v2_2: Kubernetes refuses v2_3."""
    header = (DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text()
    assert "Flink Kubernetes operator 1.15." in header.splitlines()[0]
    assert DEPLOYMENTS[job]["spec"]["flinkVersion"] == "v2_2"
    assert PINS["apache-flink"].startswith("2.")  # the operator asks for no more than 2.0 or newer


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_deployment_gives_its_job_the_arguments_that_it_asks_for(job: str):
    script = (REPOSITORY / "jobs" / f"session_{job}.py").read_text()
    wanted = set(re.findall(r'add_argument\("(--[a-z]+)", [^)]*required=True', script))
    spec = DEPLOYMENTS[job]["spec"]
    given = dict(zip(spec["job"]["args"][4::2], spec["job"]["args"][5::2], strict=True))
    assert set(given) == wanted
    mount = spec["podTemplate"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    header = (DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text()
    for path in given.values():
        assert path.startswith(f"{mount}/")
        assert f"--from-file={Path(path).name}=" in header


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_deployment_leaves_the_places_of_its_state_to_be_named(job: str):
    configuration = DEPLOYMENTS[job]["spec"]["flinkConfiguration"]
    places = ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir", "high-availability.storageDir")
    assert all(configuration[place].startswith(f"s3://CHANGE-ME/liveshelf/{job}/") for place in places)


@pytest.mark.parametrize("job", DEPLOYMENTS)
def test_a_deployments_files_are_those_that_a_dry_run_writes(job: str):
    header = (DOCKER / "kubernetes" / "base" / f"{job}.yaml").read_text()
    assert f"liveshelf submit {job} --dry-run" in header
    written = re.findall(r"--from-file=\S+=\.liveshelf/jobs/(\S+)", header)
    assert (
        written
        == {"features": ["features.config.json", "features.wanted.json"], "rankings": ["rankings.config.json"]}[job]
    )


def test_the_model_is_in_the_image():
    default = Settings.model_fields["model_dir"].default.relative_to(REPOSITORY)
    assert default.parts[0] in re.findall(r"^COPY (\w+) ", DOCKERFILE, re.M)
    assert (REPOSITORY / default / "manifest.json").is_file()
