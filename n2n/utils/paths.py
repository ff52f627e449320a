"""Checks of the paths that users write, and folder names made from arbitrary names.

platformdirs and pathvalidate do not replace this module: the first has no checks, the second does not expand ``~`` or
recognise URLs.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from n2n.utils.strict import short_repr

MAX_PART, MAX_PATH = 255, 4095  # bytes of a name and of a path on Linux
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")  # pathlib makes s3:/ of s3://


def path_text(value: str | os.PathLike) -> str:
    """A path as text, with ``~`` expanded; the file system is not accessed otherwise.

    Raises:
        ValueError: not a path, a URL (the message names its scheme), an unknown home, a null character, or a name or
            path that is too long for a file system.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(text, str):
        raise ValueError(f"saw {short_repr(value)}; the path of a file or folder is needed")
    if scheme := _SCHEME.match(text):
        raise ValueError(f"saw {short_repr(text)}, a URL of scheme {scheme[1]!r}; a path on this machine is needed")
    if "\0" in text:
        raise ValueError(f"saw {short_repr(text)}, which has a null character; no path can have one")
    if text.startswith("~"):
        try:
            text = str(Path(text).expanduser())
        except RuntimeError:
            user = text.split("/")[0]
            raise ValueError(
                f"saw {short_repr(text)}, but there is no home {user}; ./{user} is a folder here"
            ) from None
    try:
        parts = [len(part) for part in os.fsencode(text).split(b"/")]
    except UnicodeEncodeError:
        raise ValueError(f"saw {short_repr(text)}, which has a character that no path can have") from None
    if max(parts) > MAX_PART:
        raise ValueError(f"saw {short_repr(text)}, a name of {max(parts)} bytes in a path; at most {MAX_PART} can be")
    if sum(parts) + len(parts) - 1 > MAX_PATH:
        raise ValueError(f"saw {short_repr(text)}, a path of {len(text)} characters; at most {MAX_PATH} bytes can be")
    return text


def checked_path(value: str | os.PathLike, what: str) -> Path:
    """An absolute path whose text is valid and whose links all have targets.

    Raises:
        ValueError: as ``path_text``, or a link without a target in the path; the message begins with ``what``.
    """
    try:
        path = Path(path_text(value)).absolute()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    for part in (path, *path.parents):
        if os.path.islink(part) and not os.path.exists(part):
            raise ValueError(f"{what}: {part} is a link to {os.readlink(part)}, which is not there")
    return path


def folder_name(text: str, max_length: int = 80) -> str:
    """A folder name for any text: only letters, digits and _.+-, neither empty nor hidden.

    The end of a longer name is replaced by a hash of the text.
    """
    return with_hash_if_long(slug(text.lstrip("-.")), max_length, text)


def slug(text: str) -> str:
    """A text with a hyphen for every run of characters other than letters, digits and _.+-."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text) or "-"


def with_hash_if_long(name: str, max_length: int, whole: str) -> str:
    """``name`` if it has at most ``max_length`` characters, else as ``with_hash``."""
    return name if len(name) <= max_length else with_hash(name, max_length, whole)


def with_hash(name: str, max_length: int, whole: str) -> str:
    """The beginning of a name and a hash of ``whole``: at most ``max_length`` characters."""
    return f"{name[: max_length - 9]}-{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:8]}"


def path_or_default(value: object) -> object:
    """A path as text with ``~`` expanded; "" stands for a default and stays."""
    return value if value == "" else path_text(value)


def _not_a_file(folder: str) -> str:
    if folder and Path(folder).exists() and not Path(folder).is_dir():
        raise ValueError(f"saw {short_repr(folder)}, which is a file; a folder is needed")
    return folder


PathText = Annotated[str, BeforeValidator(path_or_default)]
FolderText = Annotated[PathText, AfterValidator(_not_a_file)]
