"""A zip of listed source files that is the same bytes for the same content, on any machine.

Pulumi and Cloud Functions redeploy when the archive changes, so nothing but content may change
it: no times, no file modes, no order of a directory, no caches that happen to lie around.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pulumi

BUILD = Path(__file__).resolve().parents[1] / "build"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold


@dataclass(frozen=True)
class SourceArchive:
    """`path` of the zip on this machine, `digest` (SHA-256, hex) of its bytes."""

    path: Path
    digest: str


def build_archive(name: str, source: Path, patterns: Iterable[str]) -> SourceArchive:
    """Zip the files under `source` that match `patterns` (globs) into `build/<name>-<digest>.zip`.

    Raises:
        pulumi.RunError: a pattern matches nothing, so a file that the service needs is missing.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = {path for path in source.glob(pattern) if path.is_file()}
        if not found:
            raise pulumi.RunError(
                f"{source}: nothing matches {pattern!r}, which the archive {name!r} lists; "
                f"restore the file or mend the list"
            )
        files |= found
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path.relative_to(source).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    target = BUILD / f"{name}-{digest[:16]}.zip"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        # Renamed into place: another run in this tree never sees half a file.
        with tempfile.NamedTemporaryFile(dir=BUILD, delete=False) as part:
            part.write(buffer.getvalue())
        os.replace(part.name, target)  # noqa: PTH105
    return SourceArchive(target, digest)
