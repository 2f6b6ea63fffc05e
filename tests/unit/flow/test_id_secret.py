"""The secret for ids is made once, only its owner reads it, and a job that goes on needs the same one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from jobs.errors import SettingsError
from jobs.flow import id_secret, submissions
from jobs.flow.job_config import JobConfig
from jobs.operate import submit
from jobs.settings import REPOSITORY, Settings

OF_0_1_0 = REPOSITORY / "tests" / "fixtures" / "rankings.config.0.1.0.json"


def test_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as beside:
        files = set(beside.map(id_secret.made, [tmp_path] * 8))
    (file,) = files
    secret = file.read_text()
    assert len(bytes.fromhex(secret)) == 32
    assert id_secret.made(tmp_path).read_text() == secret
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    assert list(file.parent.iterdir()) == [file]
    assert id_secret.made(tmp_path / "other").read_text() != secret


def submitted(state_dir: Path, **config: object) -> None:
    values = JobConfig.of(Settings(state_dir=state_dir), "kafka:1", "redis://redis", project="shop")
    msgspec.structs.replace(values, **config).save(submissions.config_path(state_dir, "rankings"))


def test_new_job_is_told_a_file_and_not_the_secret(tmp_path: Path) -> None:
    file = submit.secret_file(Settings(state_dir=tmp_path), "rankings", None)
    submitted(tmp_path, id_secret=file)
    config = submissions.config_path(tmp_path, "rankings")
    assert Path(file).read_text() not in config.read_text()
    assert JobConfig.load(config).keyed
    assert id_secret.cached_files(Path("/srv/it's/ids")) == "name:liveshelf-ids,path:'file:///srv/it''s/ids'"


def test_job_that_goes_on_keeps_the_keys_it_began_with(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    assert not submissions.is_keyed(tmp_path, "rankings")  # a savepoint of a release, and nothing was submitted here
    assert submit.secret_file(settings, "rankings", "savepoint") == ""
    file = id_secret.made(tmp_path)
    assert submissions.is_keyed(tmp_path, "rankings")
    assert submit.secret_file(settings, "rankings", "savepoint") == str(file)
    submitted(tmp_path)
    assert not submissions.is_keyed(tmp_path, "rankings")
    submitted(tmp_path, id_secret=str(file))
    assert submissions.is_keyed(tmp_path, "rankings")
    submissions.config_path(tmp_path, "rankings").write_bytes(OF_0_1_0.read_bytes())
    assert not submissions.is_keyed(tmp_path, "rankings")


def test_secret_may_lie_beside_the_jobs_configuration(tmp_path: Path) -> None:
    """As in Kubernetes, where the folder that is mounted is another one than where the job was compiled."""
    submitted(tmp_path, id_secret="/data/liveshelf/secret/ids")
    config = submissions.config_path(tmp_path, "rankings")
    with pytest.raises(SettingsError, match="/data/liveshelf/secret/ids is lost"):
        id_secret.kept(Path(JobConfig.load(config).id_secret))
    config.with_name("ids").write_text("a secret")
    assert JobConfig.load(config).id_secret == str(config.with_name("ids"))


def test_lost_secret_is_named_and_never_made_anew(tmp_path: Path) -> None:
    submitted(tmp_path, id_secret=str(id_secret.path(tmp_path)))
    with pytest.raises(SettingsError, match=r"secret/ids is lost.*\n.*put it back"):
        submit.secret_file(Settings(state_dir=tmp_path), "rankings", "savepoint")
    assert not id_secret.path(tmp_path).exists()
