"""Weights from the Hugging Face hub, or from its cache where there is no network."""

import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from advisor.errors import AdvisorError, ExitCode

_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_UNWANTED = ("original/*", "consolidated*", "onnx/*")  # the same weights a second time


def downloaded(name: str) -> Path:
    """The local folder of a hub name: config, tokenizer and safetensors, downloaded where they are not yet.

    Raises: AdvisorError where the name is unknown, gated, or not cached and out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    online = _online()
    try:
        return Path(
            snapshot_download(
                name,
                local_files_only=not online,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
        )
    except LocalEntryNotFoundError as error:
        raise _unreachable(name) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise AdvisorError(
            f"The hub does not give {name!r}.",
            why=str(error).strip().splitlines()[0],
            fix="check the name; for a gated model: accept its terms, then `hf auth login`",
            exit_code=ExitCode.ENVIRONMENT,
        ) from error


def _unreachable(name: str) -> AdvisorError:
    return AdvisorError(
        f"{name!r} is not in the local cache, and the hub can't be reached.",
        why="no network, or no name service",
        fix="download it where there is a network (hf download …) and give its directory with --model",
        exit_code=ExitCode.ENVIRONMENT,
    )


def _online() -> bool:
    """Whether the hub's name resolves; without this the hub's client retries for minutes, file by file."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy resolves the name
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
