"""How the archive of a run names what its facts depend on: by ids, or as the first release did."""

from pathlib import Path

from evonas.archive import Archive
from evonas.errors import DataError, UserError
from evonas.identifiers import Naming, identified, naming_of


def archive_naming(path: Path | None) -> Naming:
    """The naming of an archive that is there already, else that of new ones."""
    if path is None:
        return identified
    try:
        with Archive.read(path) as archive:
            return naming_of(archive.meta)
    except (UserError, DataError):
        # nothing is there or nothing but an empty file; what is damaged is told where it is opened
        return identified
