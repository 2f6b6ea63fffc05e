"""Make the wheel and environments of their own for it, without a network."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.settings import REPOSITORY

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "jobs", "models", "feature_repo")
LEFT_BY_USE = ("__pycache__", "data", "*.egg-info")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def sources() -> list[Path]:
    """Return every file that a wheel is made from, relative to the repository."""
    ignored = shutil.ignore_patterns(*LEFT_BY_USE)
    files = [Path(name) for name in SOURCES if (REPOSITORY / name).is_file()]
    for root in SOURCES:
        for folder, folders, names in os.walk(REPOSITORY / root):
            folders[:] = set(folders) - ignored(folder, folders)
            files += [Path(folder, name).relative_to(REPOSITORY) for name in names]
    return files


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy: a `build` folder that an earlier build left would put deleted files into it."""
    copy = folder / "source"
    for file in sources():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, copy / file)
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(copy))
    (wheel,) = folder.glob("liveshelf-*.whl")
    return wheel


def repack_with_requirements(name: str, folder: Path) -> set[str]:
    """Write an installed package and what it requires as wheels into `folder`; return their canonical names."""
    package = distribution(name)
    info = f"{package.metadata['Name'].replace('-', '_')}-{package.version}"
    left_out = ("INSTALLER", "REQUESTED", "direct_url.json")
    with zipfile.ZipFile(folder / f"{info}-py3-none-any.whl", "w") as wheel:
        for file in package.files or []:
            if file.suffix != ".pyc" and file.name not in left_out and ".." not in file.parts:
                wheel.write(str(package.locate_file(file)), str(file))
    names: set[str] = {canonicalize_name(package.metadata["Name"])}
    for requirement in map(Requirement, package.requires or []):
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            names |= repack_with_requirements(requirement.name, folder)
    return names


def run(
    *argv: str, cwd: Path | None = None, code: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a person outside the checkout would, and check its exit code unless that is None.

    Of this process's variables the checkout's place and liveshelf's settings are left out.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIVESHELF_")}
    environment.pop("PYTHONPATH", None)
    process = subprocess.run(argv, cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False)
    assert code in (None, process.returncode), (
        f"{argv} ended with {process.returncode}:\n{process.stdout}{process.stderr}"
    )
    return process


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the Python that runs the tests."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Environment":
        run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        return cls(folder)

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def site_packages(self) -> Path:
        return self.folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"

    def script(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def install(self, *arguments: str) -> None:
        run(*PIP, "--python", self.python, "install", *arguments)

    def borrow_packages(self) -> None:
        """Let this environment import what the running one has installed, but not its liveshelf.

        The wheel's own comes first. The running environment's editable liveshelf is found by a hook that only its own
        start-up files install.
        """
        (self.site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def packages(self) -> set[str]:
        """Return the names of the packages that are installed here, as `canonicalize_name` writes them."""
        return {canonicalize_name(folder.name.partition("-")[0]) for folder in self.site_packages.glob("*.dist-info")}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change (ns) of every file but compiled modules, which Python itself may write."""
        files = [file for file in self.site_packages.rglob("*") if file.is_file() and file.suffix != ".pyc"]
        return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
