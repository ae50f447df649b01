"""What an adaptation file holds beside its graph: a description as JSON, and the policy."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamotor.deploy.runtime.methods import METHODS
from metamotor.deploy.runtime.policy import ADAPTATION_KEY, METADATA_KEY
from metamotor.deploy.runtime.screening import read_model

ADAPTATION_FORMAT = 1
"""The version of the files that this module reads and `deploy.export_adaptation` writes."""
POLICY_KEY = "metamotor_policy"
"""Of the ONNX metadata: the policy file in base64; under `ADAPTATION_KEY` stands the description as JSON."""
ENTRIES = (
    *("method", "learner", "episodes", "horizon", "weights"),
    *("observations", "action", "policy"),
)
"""What every description holds."""


def read(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is a directory, or too large for a policy.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a directory; give the .onnx file that deploy.export_adaptation wrote"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; write one with metamotor.deploy.export_adaptation"
        )
    return read_model(path)


def read_document(entries: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return the description in a file's metadata.

    Raises:
        ValueError: if there is none, it is damaged, or a newer metamotor wrote it.
    """
    try:
        document = json.loads(entries.get(ADAPTATION_KEY, "null"))
    except json.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        plain = METADATA_KEY in entries
        told = (
            "is a plain policy, which deploy.runtime.Policy runs and"
            if plain
            else "is an ONNX file that"
        )
        raise ValueError(
            f"{path} {told} does not adapt; write one that does with metamotor.deploy.export_adaptation"
        )
    if document["format"] > ADAPTATION_FORMAT:
        raise ValueError(
            f"{path} has format {document['format']}, this metamotor reads up to {ADAPTATION_FORMAT}; upgrade "
            "metamotor here"
        )
    missing = sorted(set(ENTRIES) - set(document))
    if missing or document["method"] not in METHODS:
        raise ValueError(
            f"{path} is not consistent: its metadata lacks {', '.join(missing) or 'a method that is known here'}; "
            "export the learner again"
        )
    return document


def read_policy(entries: Mapping[str, str], path: Path) -> bytes:
    """Return the policy inside a file; nothing if it has none.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        return base64.b64decode(entries.get(POLICY_KEY, ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{path} is damaged: its policy cannot be read; copy it again") from None
