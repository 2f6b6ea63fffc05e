"""What Flink's client starts with stays whole while another command prepares the same."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs.cluster import flink, flink_config


def test_jars_stay_whole_while_two_commands_link_them(tmp_path: Path) -> None:
    """Both jobs may be submitted at once, and the keeper starts one whenever it must."""
    flink._link_jars(tmp_path)
    (tmp_path / "flink-of-before.jar").symlink_to("/gone")
    whole = {link.name: link.resolve() for link in tmp_path.glob("*.jar") if link.exists()}
    seen = []
    with ThreadPoolExecutor(2) as beside:
        linking = [beside.submit(flink._link_jars, tmp_path) for _ in range(40)]
        while not all(each.done() for each in linking):
            seen.append({link.name for link in tmp_path.glob("*.jar") if link.exists()})
    assert [each.exception() for each in linking] == [None] * 40
    assert all(names == whole.keys() for names in seen)
    assert {link.name: link.resolve() for link in tmp_path.iterdir()} == whole


def test_a_configuration_is_never_read_half_written(tmp_path: Path) -> None:
    flink_config.write(tmp_path, {"rest.port": 1})
    whole = len((tmp_path / "config.yaml").read_text())
    with ThreadPoolExecutor(2) as beside:
        writing = [beside.submit(flink_config.write, tmp_path, {"rest.port": 1}) for _ in range(40)]
        sizes = {whole}
        while not all(each.done() for each in writing):
            sizes.add(len((tmp_path / "config.yaml").read_text()))
    assert sizes == {whole}
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o600
