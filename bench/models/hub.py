"""timm's pretrained weights on the Hugging Face hub, by tag, and one verified local copy of them.

Cache, mirrors and offline use are the client's own (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE). Nothing
here reads tensors.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from bench import registry
from bench.config.schema import WeightsConfig
from bench.files import sha256_of

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

OPEN_LICENSES = (
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "isc",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "unlicense",
)
UNKNOWN_LICENSE = "unknown"  # one that timm does not state


class HubWeights(NamedTuple):
    """What is known of a tag before anything is fetched."""

    name: str
    tag: str
    repository: str
    file: str
    license: str


def hub_weights(network: str, config: WeightsConfig) -> HubWeights:
    """Look a network's tag up in timm's own tables, without network access.

    Tag null is timm's default. Raises ValueError for a network or tag without hub weights, a file
    that could run code, or a licence without consent.
    """
    # Here, since both take seconds to import, and fetch() needs neither.
    from timm.models import get_arch_pretrained_cfgs

    from bench.models.networks import check_network

    check_network(network)
    stated: list[PretrainedCfg] = []
    if network not in registry.names("network"):
        stated = list(get_arch_pretrained_cfgs(network).values())
    on_hub = {str(cfg.tag): cfg for cfg in stated if cfg.hf_hub_id}
    if not on_hub:
        raise ValueError(
            f"weights.source: the hub has no weights of {network}; allowed for it: random, file, "
            "self"
        )
    architecture, _, tag_in_name = network.partition(".")
    tag = config.tag or tag_in_name or str(stated[0].tag)  # timm's default comes first
    registry.require(tag, on_hub, f"weights.tag: the hub has no weights {tag!r} of {architecture}")
    weights = _described(f"{architecture}.{tag}", tag, on_hub[tag])
    _check_file(weights)
    _check_license(weights, config.accept_license, on_hub)
    return weights


def fetch(weights: HubWeights) -> Path:
    """Return the file on this machine: the hub's newest, else the cached copy.

    A cached copy is told on stderr. Raises ValueError, one sentence, when there is neither, and for
    a file that is not what its name in the cache says.
    """
    try:
        path = _download(weights)
    except Exception as error:  # the client's, its HTTP library's, xet's, the disk's: no one class
        path = _cached(weights, _cause(error))
    _check_content(path)
    return path


def available(weights: HubWeights) -> str | None:
    """Say where fetch() would find the file.

    None where neither the cache nor, within seconds, the hub has it.
    """
    if isinstance(try_to_load_from_cache(weights.repository, weights.file), str):
        return constants.HF_HUB_CACHE
    try:
        get_hf_file_metadata(hf_hub_url(weights.repository, weights.file), timeout=3)
    except Exception:  # as in fetch()
        return None
    return f"to be fetched from {constants.ENDPOINT}"


def _described(name: str, tag: str, cfg: "PretrainedCfg") -> HubWeights:
    return HubWeights(
        name=name,
        tag=tag,
        repository=str(cfg.hf_hub_id),
        file=cfg.hf_hub_filename or "model.safetensors",
        license=cfg.license or UNKNOWN_LICENSE,
    )


def _check_file(weights: HubWeights) -> None:
    if not weights.file.endswith(".safetensors"):
        raise ValueError(
            f"weights.tag: {weights.name} is {weights.file!r}, which could run code when it is "
            "read; allowed: .safetensors files"
        )


def _check_license(
    weights: HubWeights, accepted: str | None, on_hub: Mapping[str, "PretrainedCfg"]
) -> None:
    terms = weights.license
    if terms in OPEN_LICENSES or accepted == terms:
        return
    open_tags = sorted(tag for tag, cfg in on_hub.items() if cfg.license in OPEN_LICENSES)
    raise ValueError(
        f"weights.accept_license: {accepted!r} does not cover {weights.name}, whose licence is "
        f"{terms}: set it to {terms!r} if you agree to it "
        f"(https://huggingface.co/{weights.repository}), or take an open tag: "
        f"{', '.join(open_tags) or 'none'}"
    )


def _download(weights: HubWeights) -> Path:
    # Asked once here, for 10 s (HF_HUB_ETAG_TIMEOUT): the download's own question goes on for 6
    # minutes unanswered.
    get_hf_file_metadata(hf_hub_url(weights.repository, weights.file))
    return Path(hf_hub_download(weights.repository, weights.file))


def _cached(weights: HubWeights, cause: str) -> Path:
    """Return the copy in the cache, for the hub did not give the file.

    Raises ValueError where there is none.
    """
    path = try_to_load_from_cache(weights.repository, weights.file)
    if not isinstance(path, str):
        raise ValueError(
            f"weights.source: {weights.name} cannot be had from "
            f"{constants.ENDPOINT}/{weights.repository}: {cause}; random weights are never put in "
            "its place: try again, set HF_ENDPOINT to a mirror, copy the HF_HUB_CACHE of a machine "
            f"that has it to {constants.HF_HUB_CACHE} and set HF_HUB_OFFLINE=1, or name a file "
            "(weights.source, weights.file)"
        ) from None  # the sentence has the cause
    if not constants.HF_HUB_OFFLINE:  # which would be no news
        print(
            f"weights: {weights.name} from the cache, perhaps not the newest: {cause}",
            file=sys.stderr,
            flush=True,
        )
    return Path(path)


def _check_content(path: Path) -> None:
    """Raise ValueError for a file that is not what its name says.

    A large file's copy is a link to a file that is named by its sha256; the client compares no more
    than the size.
    """
    file = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", file.name):
        return
    sha256 = sha256_of(file)
    if sha256 != file.name:
        raise ValueError(
            f"weights.source: {str(file)!r} is damaged (its sha256 is {sha256}): delete it and "
            "start again"
        )


def _cause(error: Exception) -> str:
    """Say in one line why the hub did not give a file."""
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, and {constants.HF_HUB_CACHE} has no copy"
    kind = type(error).__name__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        answer = f"the answer is {status}, {error.server_message or kind}"
        if status in {401, 403}:
            return f"{answer} (a gated or private one needs HF_TOKEN)"
        return answer
    first_line = str(error).strip().partition("\n")[0]
    return f"{kind}: {first_line}".rstrip(": .")
