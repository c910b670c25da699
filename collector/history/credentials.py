"""Who asks a database: the password may stand in a file, which counts anew with every request."""

from base64 import b64encode
from pathlib import Path


def basic_authorization(user: str, password: str, file: Path | None = None) -> str:
    """The header Authorization of basic authentication (RFC 7617). What `file` holds takes the password's place.

    Raises OSError or ValueError when the file cannot be read; neither repeats what is in it.
    """
    if file is not None:
        try:
            password = file.read_bytes().decode().strip()
        except UnicodeDecodeError:
            raise ValueError("it is no UTF-8") from None
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
