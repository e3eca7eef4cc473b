"""Source files as they are built: the same for the same content, on any machine.

Pulumi rebuilds and redeploys when an archive or a build context changes, so nothing but content
may change it: no times, no file modes (a laptop's umask is not CI's), no order of a directory, no
caches that happen to lie around.
"""

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pulumi

_ROOT = Path(__file__).resolve().parents[1]
BUILD, SERVICES = _ROOT / "build", _ROOT / "services"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold


def build_archive(name: str, source: Path, patterns: Iterable[str]) -> Path:
    """Zip the files under `source` that match `patterns` (globs) into `build/<name>-<digest>.zip`.

    Returns:
        The zip's path.

    Raises:
        pulumi.RunError: a pattern matches nothing, so a file that the service needs is missing.
    """
    buffer = io.BytesIO()
    # Stored, not deflated: what deflate makes of a file differs from one zlib to another.
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in _matching(name, source, patterns):
            entry = zipfile.ZipInfo(path.relative_to(source).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    target = BUILD / f"{name}-{digest[:16]}.zip"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        # Renamed into place: another run in this tree never sees half a file.
        with tempfile.NamedTemporaryFile(dir=BUILD, delete=False) as part:
            part.write(buffer.getvalue())
        os.replace(part.name, target)  # noqa: PTH105
    return target


def stage_context(name: str, source: Path) -> Path:
    """Copy what an image is built from into `build/<name>-<digest>/`, with set modes.

    `source` has a Dockerfile and a .dockerignore that shuts everything out but its `!` lines.

    Returns:
        The copy's path.

    Raises:
        pulumi.RunError: a line of .dockerignore matches nothing.
    """
    lines = (source / ".dockerignore").read_text("utf-8").splitlines()
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    patterns = [f"{each}/**/*" if (source / each).is_dir() else each for each in let_in]
    files = {
        path.relative_to(source): path.read_bytes()
        for path in _matching(name, source, ["Dockerfile", ".dockerignore", *patterns])
        if "__pycache__" not in path.parts
    }
    digest = hashlib.sha256()
    for relative, content in files.items():
        digest.update(f"{relative.as_posix()} {len(content)}\n".encode() + content)
    target = BUILD / f"{name}-{digest.hexdigest()[:16]}"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=BUILD))
        for relative, content in files.items():
            (part / relative).parent.mkdir(parents=True, exist_ok=True)
            (part / relative).write_bytes(content)
        for path in (part, *part.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            part.rename(target)
        except OSError:  # another run was first
            shutil.rmtree(part)
    return target


def _matching(name: str, source: Path, patterns: Iterable[str]) -> list[Path]:
    files: set[Path] = set()
    for pattern in patterns:
        found = {path for path in source.glob(pattern) if path.is_file()}
        if not found:
            raise pulumi.RunError(
                f"{source}: nothing matches {pattern!r}, which the build of {name!r} lists; "
                f"restore the file or mend the list"
            )
        files |= found
    return sorted(files)
