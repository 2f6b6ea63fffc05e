"""The secret for ids is made once, only its owner reads it, and a job that goes on needs the same one."""

import hashlib
import hmac
import stat
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from jobs.errors import SettingsError
from jobs.flow import checkpoint, id_secret, submissions
from jobs.flow.job_config import JobConfig
from jobs.operate import submit
from jobs.settings import REPOSITORY, Settings
from tests.support.small_checkpoints import inline, made, operator

SECRET = "0123456789abcdef" * 4
MARK = hmac.new(SECRET.encode(), b"mark", hashlib.sha256).hexdigest()[:16]
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


def savepoint(folder: Path, *uids: str) -> str:
    folder.mkdir()
    return made(folder, *(operator(uid, inline(b"")) for uid in uids)).as_uri()


def test_new_job_is_told_a_file_and_not_the_secret(tmp_path: Path) -> None:
    told = submit.secret_of(Settings(state_dir=tmp_path), "rankings", None)
    submitted(tmp_path, **told)
    config = submissions.config_path(tmp_path, "rankings")
    assert Path(str(told["id_secret"])).read_text() not in config.read_text()
    assert JobConfig.load(config).keyed
    assert id_secret.cached_files(Path("/srv/it's/ids")) == "name:liveshelf-ids,path:'file:///srv/it''s/ids'"


def test_savepoint_itself_says_how_its_keys_were_made(tmp_path: Path) -> None:
    """Whatever else was submitted from this folder meanwhile."""
    settings = Settings(state_dir=tmp_path)
    plain = savepoint(tmp_path / "old", "histories", "16_sink")
    assert submit.secret_of(settings, "rankings", plain) == {}
    told = submit.secret_of(settings, "rankings", None)
    submitted(tmp_path, **told)
    assert submit.secret_of(settings, "rankings", plain) == {}
    keyed = savepoint(tmp_path / "new", "16_sink", id_secret.uid("histories", str(told["secret_mark"])))
    assert submit.secret_of(settings, "rankings", keyed) == told
    submitted(tmp_path)
    assert submit.secret_of(settings, "rankings", keyed) == told


@pytest.mark.parametrize("job", submit.JOBS)
def test_a_release_without_a_secret_goes_on_without_one(job: submit.Job, tmp_path: Path) -> None:
    """Though there is a secret: another job was submitted from this folder before."""
    id_secret.made(tmp_path)
    saved = REPOSITORY / "tests" / "fixtures" / "savepoints" / "0.1.0" / job
    assert submit.secret_of(Settings(state_dir=tmp_path), job, saved.as_uri()) == {}


def test_for_a_savepoint_elsewhere_the_last_submission_decides(tmp_path: Path) -> None:
    settings, elsewhere = Settings(state_dir=tmp_path), "s3://shop/savepoint"
    assert submit.secret_of(settings, "rankings", elsewhere) == {}
    told = submit.secret_of(settings, "rankings", None)
    assert submit.secret_of(settings, "rankings", elsewhere) == told
    submitted(tmp_path)
    assert submit.secret_of(settings, "rankings", elsewhere) == {}
    submitted(tmp_path, **told)
    assert submit.secret_of(settings, "rankings", elsewhere) == told
    submissions.config_path(tmp_path, "rankings").write_bytes(OF_0_1_0.read_bytes())
    assert submit.secret_of(settings, "rankings", elsewhere) == {}


def test_secret_may_lie_beside_the_jobs_configuration(tmp_path: Path) -> None:
    """As in Kubernetes, where the folder that is mounted is another one than where the job was compiled."""
    submitted(tmp_path, id_secret="/data/liveshelf/secret/ids", secret_mark=MARK)
    config = submissions.config_path(tmp_path, "rankings")
    with pytest.raises(SettingsError, match="/data/liveshelf/secret/ids is lost"):
        id_secret.kept(Path(JobConfig.load(config).id_secret), MARK)
    config.with_name("ids").write_text(SECRET)
    assert JobConfig.load(config).id_secret == str(config.with_name("ids"))
    assert id_secret.kept(config.with_name("ids"), MARK)


def test_lost_or_other_secret_is_named_and_never_made_anew(tmp_path: Path) -> None:
    settings, file = Settings(state_dir=tmp_path), id_secret.path(tmp_path)
    keyed = savepoint(tmp_path / "savepoint", id_secret.uid("histories", MARK))
    with pytest.raises(SettingsError, match=r"secret/ids is lost.*\n.*put it back"):
        submit.secret_of(settings, "rankings", keyed)
    assert not file.exists()
    id_secret.made(tmp_path)
    with pytest.raises(SettingsError, match=r"secret/ids isn't the secret that.*\n.*put it back"):
        submit.secret_of(settings, "rankings", keyed)
    file.write_text(f"{SECRET}\n")  # an editor's end of line is no part of it
    assert submit.secret_of(settings, "rankings", keyed) == {"id_secret": str(file), "secret_mark": MARK}


def test_number_beside_an_id_is_a_part_of_its_key(tmp_path: Path) -> None:
    """By hand: 8 bytes of flags, the number, and 7 bytes of text or where a longer one stands."""
    assert checkpoint.key_of("abc", 258) == bytes.fromhex(
        "00000018 0000000000000000 0201000000000000 61626300000000 83"
    )
    long = bytes.fromhex("00000020 0000000000000000 ffffffffffffffff 08000000 18000000") + b"12345678"
    assert checkpoint.key_of("12345678", -1) == long
    file = tmp_path / "ids"
    file.write_text(SECRET)
    digest = hmac.new(SECRET.encode(), b"\0\0\0\3abc", hashlib.sha256).digest()
    assert id_secret.key_of(file, "abc") == struct.unpack(">q", digest[:8])[0]
