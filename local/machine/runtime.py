"""A Python that sees what the cloud's interpreter would see, and nothing else.

`.venv` holds every package of the project, and the project itself as an editable install
whose import hook would quietly supply a module that the function's archive or the image
leaves out. A process of the stack therefore runs in an environment of its own: a bare venv
that links only the distributions which a lock names. A module missing from the archive, or a
package missing from the lock, then fails here as it would on Cloud Run or in the container.
"""

from __future__ import annotations

import sysconfig
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from local.machine.errors import StackError


class Runtime:
    """A bare virtual environment with the packages of one lock.

    Args:
        folder: where to make it; must not be there yet.
        requirements: a whole `requirements.txt`, read as pip would for this Python and platform.

    Attributes:
        env: PATH, HOME and LANG as in a container: nothing of this machine's, no one's credentials.

    Raises:
        StackError: no such file, a line that pip would not take, or a package that is not
            installed in the environment that runs the demo.
    """

    def __init__(self, folder: Path, requirements: Path) -> None:
        self.bin, home = folder / "bin", folder / "home"
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        home.mkdir()
        site = Path(
            sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        )
        for each in _installed(requirements):
            _link_packages(each, site)
            self._write_scripts(each)

    def _write_scripts(self, installed: Distribution) -> None:
        for script in installed.entry_points.select(group="console_scripts"):
            path = self.bin / script.name
            path.write_text(
                f"#!{self.bin / 'python'}\n"
                f"import sys\nfrom {script.module} import {script.attr.split('.')[0]}\n"
                f"sys.exit({script.attr}())\n"
            )
            path.chmod(0o755)


def _installed(lock: Path) -> Iterator[Distribution]:
    """The installed distribution of each line: a lock names all that is needed."""
    try:
        text = lock.read_text()
    except OSError as error:
        raise StackError(
            f"{lock} can't be read ({error.strerror}): the cloud needs it too."
        ) from error
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split(" --hash")[0].split("#")[0].strip()
        if not words or words.startswith("-"):
            continue
        try:
            wanted = Requirement(words)
            if wanted.marker is None or wanted.marker.evaluate():
                yield distribution(wanted.name)
        except InvalidRequirement as error:
            raise StackError(f"{lock}: {words!r} is no requirement: {error}") from error
        except PackageNotFoundError as error:
            raise StackError(
                f"{lock} asks for {wanted.name}, which is not installed here: run `make install`."
            ) from error


def _link_packages(installed: Distribution, site: Path) -> None:
    """Link each package whole; a folder without `__init__.py` may be shared, so go inside."""
    files = [f for f in installed.files or () if f.parts[0] != ".." and f.suffix != ".pth"]
    packages = {f.parts[:-1] for f in files if f.name == "__init__.py"}
    seen: set[tuple[str, ...]] = set()
    for file in files:
        parts = file.parts
        for depth in range(1, len(parts) + 1):
            head = parts[:depth]
            whole = depth == len(parts) or head in packages or head[0].endswith(".dist-info")
            if whole and head not in seen:
                seen.add(head)
                link = site.joinpath(*head)
                if not link.exists():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(Path(str(installed.locate_file(Path(*head)))))
            if whole:
                break
