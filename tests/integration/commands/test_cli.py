"""The command line as a person or a script meets it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.commands.shared import without_warnings_of_libraries
from jobs.features import offline
from jobs.operate import audit
from jobs.settings import REPOSITORY
from tests.support.waiting import eventually

COMMANDS = [
    "up", "down", "status", "doctor", "init", "demo", "replay", "submit", "stop", "apply", "lint", "explain", "show",
    "verify", "bench", "bench compare",
    "schema", "dead", "dead list", "dead show", "dead replay", "late", "late list", "late show",
    "audit show", "audit verify", "keys", "keys new", "keys retire", "collect", "storefront", "rebuild", "resume",
    "keep", "chaos", "train", "evaluate", "learn", "models list", "models segments", "person show", "person export",
    "person erase", "consent grant", "consent withdraw", "canary start", "canary status", "canary promote",
    "canary rollback",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LIVESHELF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIVESHELF_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"liveshelf {command.split()[0]}" in result.output


def test_help_imports_no_slow_library() -> None:
    """The help comes at once, because it imports none of these, each of which takes 0.1 to 10 s."""
    slow = ("feast", "kafka", "numpy", "onnxruntime", "pandas", "pyarrow", "pyflink", "redis", "torch")
    program = (
        "import sys; from jobs.cli import app; app(['--help'], standalone_mode=False); "
        f"print(sorted(set({slow!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert "Usage: " in done.stdout
    assert done.stderr == "[]\n"


def run_liveshelf(*arguments: object, **variables: object) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, where libraries warn as they do for a user."""
    argv = [sys.executable, "-c", "from jobs.cli import app; app()", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | {name: str(value) for name, value in variables.items()}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment)


WAITS_FOR_FEAST = "reading the definitions with Feast, which takes 10 s of processor time to import\n"


def test_feast_says_nothing_on_stderr_that_nobody_can_act_on() -> None:
    """Feast calls every stream feature view experimental, and each import of it sets its own warning filters."""
    done = run_liveshelf("explain", "visitor_session")
    assert done.stdout.startswith("visitor_session")
    assert done.stderr == WAITS_FOR_FEAST


def test_no_library_warns_a_user_of_its_own_code(tmp_path: Path) -> None:
    """PyFlink, Beam and httplib2 warn of their own deprecated calls, which `history` makes."""
    repo = shutil.copytree(REPOSITORY / "feature_repo", tmp_path / "feature_repo")
    view = {"schema_version": 1, "event_id": "a", "event_type": "view", "visitor_id": "v"}
    (tmp_path / "events.jsonl").write_text(json.dumps(view | {"event_time_ms": 1_714_550_400_000, "item_id": "i"}))
    done = run_liveshelf("history", tmp_path / "events.jsonl", "--consent", "none", LIVESHELF_FEATURE_REPO=repo)
    assert "1 rows of visitor_session" in done.stdout
    nobody = "consent: nobody's was asked (--consent none), so who withdrew or was erased is taken, too\n"
    facts = offline.without_facts(["item_offers", "item_trends", "item_facts"]) + "\n"
    assert facts.startswith("no history of item_facts, item_offers, item_trends: facts aren't made of events")
    assert done.stderr == WAITS_FOR_FEAST + facts + nobody


def test_a_warning_about_a_users_own_file_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, category, file, *rest, **more: files.append(file))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with without_warnings_of_libraries():
            for file in ("/shop/feature_repo/definitions.py", "/venv/lib/site-packages/apache_beam/io.py"):
                warnings.warn_explicit("an old call", DeprecationWarning, file, 3)
    assert files == ["/shop/feature_repo/definitions.py"]


def test_a_wrong_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting is named with its value and ends with 2."""
    monkeypatch.setenv("LIVESHELF_KAFKA_PORT", "many")
    result = call("status")
    assert result.exit_code == 2
    assert "LIVESHELF_KAFKA_PORT" in result.stderr
    assert "'many'" in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_misspelled_setting_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "liveshelf.toml").write_text("kafka_prot = 1\n")
    result = call("status")
    assert result.exit_code == 2
    assert "kafka_prot" in result.stderr


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "liveshelf.toml").write_text("kafka_port: 1\n")
    result = call("status")
    assert result.exit_code == 2
    assert "liveshelf.toml" in result.stderr


NEED_A_SYSTEM = ["submit", "stop features", "apply", "replay eshop2008", "verify", "dead", "late", "show v"]


@pytest.mark.parametrize("command", NEED_A_SYSTEM)
def test_without_running_system_a_command_says_how_to_start_one(command: str) -> None:
    result = call(*command.split())
    assert result.exit_code == 4
    assert "liveshelf up" in result.stderr
    assert "LIVESHELF_STATE_DIR" in result.stderr  # it may run, in another folder


def test_status_as_json_names_each_service(tmp_path: Path) -> None:
    result = call("status", "--json")
    assert result.exit_code == 0
    seen = json.loads(result.stdout)
    assert {name: seen[name]["state"] for name in ("kafka", "redis", "flink", "model", "model_of_settings")} == {
        "kafka": "stopped", "redis": "stopped", "flink": "stopped", "model": "active", "model_of_settings": "active",
    }  # fmt: skip
    assert seen["state_dir"] == str(tmp_path / "state")
    assert seen["shelves"]["version"] == ""


def test_status_where_nothing_runs_names_the_folder(tmp_path: Path) -> None:
    """Status where nothing runs names the folder and how to choose another."""
    result = call("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"state  {tmp_path / 'state'}"
    assert "LIVESHELF_STATE_DIR=FOLDER liveshelf status" in result.stderr


def test_mistyped_variable_is_told_once_and_the_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESHELF_KAFKA_PRT", "1")
    result = call("models", "list", "--help")
    assert result.exit_code == 0
    result = call("schema")
    assert result.exit_code == 0
    assert result.stderr.count("is LIVESHELF_KAFKA_PORT meant?") == 1


def test_doctor_names_the_registry_that_up_will_write(tmp_path: Path) -> None:
    found = json.loads(call("doctor", "--json").stdout)
    registry = next(check for check in found if check["name"] == "Feast registry")
    assert (registry["ok"], registry["fix"]) == (False, "liveshelf up")
    assert registry["found"] == f"no {tmp_path / 'state' / 'registry.db'} yet"


def test_models_list_names_the_folder_that_it_looks_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(tmp_path / "versions"))
    assert f"0 versions in {tmp_path / 'versions'}" in call("models", "list").stderr
    assert json.loads(call("models", "list", "--json").stdout)["folder"] == str(tmp_path / "versions")


def test_models_list_shows_a_single_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = REPOSITORY / "models" / "artifacts" / "eshop"
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(bundle))
    (version,) = json.loads(call("models", "list", "--json").stdout)["versions"]
    digest = json.loads((bundle / "manifest.json").read_text())["files"]["model.onnx"][:12]
    assert (version["version"], version["active"], version["items"]) == (f"eshop-{digest}", True, 217)
    assert call("models", "list").stdout.startswith(f"* eshop-{digest} ")


def test_models_segments_tells_what_sets_each_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESHELF_MODEL_DIR", str(REPOSITORY / "models" / "artifacts" / "eshop"))
    lines = call("models", "segments").stdout.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith(" 0   20.9%  trousers A2, blue")
    told = json.loads(call("models", "segments", "--json").stdout)["segments"]
    assert sum(segment["share"] for segment in told) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "command",
    [["submit"], ["stop", "features"], ["person", "erase", "x"], ["consent", "withdraw", "x"], ["person", "show", "x"]],
)
def test_a_command_in_a_wrong_folder_leaves_nothing_there(command: list[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert call(*command).exit_code == 4
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_a_signal_ends_is_recorded_as_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    """`feast apply` takes seconds; the signal comes while it runs."""
    environment = os.environ | {"LIVESHELF_REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": str(REPOSITORY)}
    # Under nohup a child would ignore SIGHUP, and SIGINT in the background of a script.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); from jobs.cli import app; app()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, "apply"], env=environment, stderr=subprocess.PIPE)
    eventually(lambda: psutil.Process(process.pid).children())

    process.send_signal(number)

    assert process.wait(timeout=30) == 130
    assert process.stderr is not None
    assert process.stderr.read().endswith(b"interrupted\n")
    assert [(each.action, each.result) for each in audit.entries(tmp_path / "state")] == [("apply", "interrupted")]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call("schema").exit_code == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_down_with_nothing_running_is_fine() -> None:
    result = call("down")
    assert result.exit_code == 0
    assert result.stdout.startswith("0 processes")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("explain",), "--service"),
        (("explain", "a", "--service", "b"), "--service"),
        (("submit", "all", "--from-savepoint", "x"), "--from-savepoint"),
        (("dead", "replay", "--set"), "--set"),
        (("replay",), "SOURCE"),
        (("stop", "everything"), "everything"),
    ],
)
def test_a_wrong_argument_ends_with_2_and_is_named(arguments: tuple[str, ...], named: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert named.lower() in result.stderr.lower()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "mine", "--segments", "3"), "--segments and --from don't go together"),
        (("--from", "mine", "--min-session", "2"), "--min-session and --from don't go together"),
        (("--from", "mine", "--resume"), "--resume and --from don't go together"),
        (("--from", "mine", "--key", "key.pem"), "--key goes with --publish only"),
        (("--publish",), "--publish goes with --from only"),
    ],
)
def test_an_option_of_train_without_effect_is_refused(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch isn't installed: pip install 'liveshelf[train]'")

    result = call("train", "--sessions", "clicks.tsv", "--out", str(tmp_path / "mine"), *options)

    assert said in result.stderr


def test_the_schema_is_json_schema_and_the_table_is_markdown() -> None:
    assert json.loads(call("schema").stdout)["title"] == "liveshelf event"
    assert call("schema", "--table").stdout.startswith("| field | type |")


def test_an_error_shows_where_it_came_from_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVESHELF_DEBUG", "1")
    assert type(call("show", "v").exception).__name__ == "ServiceError"
