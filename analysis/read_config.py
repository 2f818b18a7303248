"""Reads the resolved INI that the program stamps into run folders (config.ini) and results files."""

import pathlib

from read_tables import TableError


def parse_config(text, where):
    """{"section.key": [values]} in the file's order; a repeated key has several values, an empty one none."""
    values, section = {}, None
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, separator, value = line.partition("=")
        if not separator or section is None:
            raise TableError(f"{where}:{number}: neither [section] nor key = value")
        values.setdefault(f"{section}.{key.strip()}", []).extend([value.strip()] if value.strip() else [])
    return values


def read_config(path):
    try:
        return parse_config(pathlib.Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: {error}") from error


def is_off(config, key):
    """Whether a switch is stated and off."""
    return bool(config.get(key)) and config[key][-1].lower() in ("off", "no", "0", "false")
