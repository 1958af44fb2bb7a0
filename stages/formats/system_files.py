"""Names of what systems and programs keep among the images of people: recycle bins, thumbnails, snapshots."""

from __future__ import annotations

import re
from functools import lru_cache

# Compared without case, as most of these systems do. Only whole names: @home, #1 or $100 are classes.
_FOLDERS = frozenset(
    (
        *("$recycle.bin", "system volume information", "config.msi", "msocache", "$extend", "$winreagent"),  # Windows
        *("$windows.~bt", "$windows.~ws", "$sysreset", "$getcurrent", "$upg$pbr"),
        *("lost+found", "~snapshot"),  # Linux, NetApp
        *(
            "__macosx",
            "network trash folder",
            "temporary items",
            "thevolumesettingsfolder",
            "thefindbycontentfolder",
        ),  # macOS
        *("@eadir", "@tmp", "@sharebin", "@sharesnap", "#recycle", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb", "@transcode"),  # QNAP
        "__pycache__",
    )
)
# Older Windows; in any other spelling these words may be classes.
_SPELLED = frozenset(("RECYCLER", "RECYCLED"))
_NUMBERED = re.compile(r"found\.\d{3}", re.IGNORECASE)  # what chkdsk finds
_THUMBNAIL = re.compile(r"SYNO(FILE|PHOTO|VIDEO)[_:]", re.IGNORECASE)


def system_kind(name: str) -> str:
    """Kind of a file or folder that belongs to a system and not to the data; empty for all others.

    Args:
        name: Relative POSIX name; that of a folder ends with a slash.

    >>> [system_kind(name) for name in ("cat/@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg", "cat/._a.jpg", "@home/a.jpg")]
    ['system folders', 'hidden', '']
    """
    if name.startswith(".") or "/." in name:
        return "hidden"
    folder, _, file = name.rpartition("/")
    if _is_system_folder(folder):
        return "system folders"
    return "system files" if _THUMBNAIL.match(file) else ""


@lru_cache(maxsize=1024)
def _is_system_folder(path: str) -> bool:
    parts = path.split("/")
    return any(part.lower() in _FOLDERS or part in _SPELLED or _NUMBERED.fullmatch(part) for part in parts)
