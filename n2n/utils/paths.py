"""The one way from what a user writes to a path, and the one way from a name to the name of a folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from n2n.utils.strict import short_repr

MAX_PART, MAX_PATH = 255, 4095  # bytes of a name and of a path, as Linux has them
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")  # pathlib makes s3:/ of s3://


def path_text(given: str | os.PathLike) -> str:
    """A path as text, with ``~`` replaced by the home it stands for; the file system is not looked at otherwise.

    Raises:
        ValueError: something else than a path, a URL (the message names its scheme), a home that there is not, a null
            character, or a name or path that is too long for a file system.
    """
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(text, str):
        raise ValueError(f"saw {short_repr(given)}; the path of a file or folder is needed")
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


def checked_path(given: str | os.PathLike, what: str) -> Path:
    """A path, absolute, that can be read from or written to as far as its own text and links say.

    Raises:
        ValueError: as ``readable``, or a link on the way that leads nowhere; the message begins with ``what``.
    """
    try:
        path = Path(path_text(given)).absolute()
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    for part in (path, *path.parents):
        if os.path.islink(part) and not os.path.exists(part):
            raise ValueError(f"{what}: {part} is a link to {os.readlink(part)}, which is not there")
    return path


def folder_name(text: str, most: int = 80) -> str:
    """A name as the name of a folder: letters, digits and any of _.+- alone, neither empty nor hidden.

    Of a name longer than ``most`` the rest is replaced by a hash of the whole.
    """
    return shorten(slug(text.lstrip("-.")), most, text)


def slug(text: str) -> str:
    """A text with every run of other characters than letters, digits and any of _.+- replaced by a hyphen."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text) or "-"


def shorten(name: str, most: int, whole: str) -> str:
    """A name of ``most`` characters at the most; what is cut off is replaced by a hash of ``whole``."""
    return name if len(name) <= most else truncate(name, most, whole)


def truncate(name: str, most: int, whole: str) -> str:
    """The beginning of a name and a hash of ``whole``, ``most`` characters at the most."""
    return f"{name[: most - 9]}-{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:8]}"


def path_or_default(value: object) -> object:
    """A path as text, ``~`` expanded; "" stands for a default, and is left."""
    return value if value == "" else path_text(value)


def _no_file(folder: str) -> str:
    if folder and (place := Path(folder)).exists() and not place.is_dir():
        raise ValueError(f"saw {short_repr(folder)}, which is a file; a folder is needed")
    return folder


PathText = Annotated[str, BeforeValidator(path_or_default)]
FolderText = Annotated[PathText, AfterValidator(_no_file)]
