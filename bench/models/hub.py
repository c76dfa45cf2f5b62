"""timm's pretrained weights on the Hugging Face hub, by tag: what is known of them, and one verified local copy.

Cache, mirrors and offline use are the client's own (HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE). Nothing here reads tensors.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

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


class HubWeights(NamedTuple):
    """What is known of a tag before anything is fetched; a licence that timm does not state is "unknown"."""

    name: str
    tag: str
    repository: str
    file: str
    license: str


def hub_weights(network: str, config: WeightsConfig) -> HubWeights:
    """Look a network's tag up in timm's own tables, without network access; tag null is timm's default.

    Raises ValueError for a network or tag without hub weights, a file that could run code, or a licence without consent.
    """
    from timm.models import (
        get_arch_pretrained_cfgs,
    )  # seconds to import, and fetch() needs none of it

    from bench.models.networks import check_network

    check_network(network)
    stated = (
        []
        if network in registry.names("network")
        else list(get_arch_pretrained_cfgs(network).values())
    )
    known = {str(cfg.tag): cfg for cfg in stated if cfg.hf_hub_id}
    if not known:
        raise ValueError(
            f"weights.source: the hub has no weights of {network}; allowed for it: random, file, self"
        )
    architecture, _, written = network.partition(".")
    tag = config.tag or written or str(stated[0].tag)  # timm's default comes first
    registry.require(tag, known, f"weights.tag: the hub has no weights {tag!r} of {architecture}")
    name, cfg = f"{architecture}.{tag}", known[tag]
    terms, file = cfg.license or "unknown", cfg.hf_hub_filename or "model.safetensors"
    if not file.endswith(".safetensors"):
        raise ValueError(
            f"weights.tag: {name} is {file!r}, which could run code when it is read; allowed: .safetensors files"
        )
    if terms not in OPEN_LICENSES and config.accept_license != terms:
        free = (
            ", ".join(sorted(tag for tag, other in known.items() if other.license in OPEN_LICENSES))
            or "none"
        )
        raise ValueError(
            f"weights.accept_license: {config.accept_license!r} does not cover {name}, whose licence is {terms}: set it to "
            f"{terms!r} if you agree to it (https://huggingface.co/{cfg.hf_hub_id}), or take an open tag: {free}"
        )
    return HubWeights(name=name, tag=tag, repository=str(cfg.hf_hub_id), file=file, license=terms)


def fetch(weights: HubWeights) -> Path:
    """The file on this machine: the hub's newest where that can be had, else the cached copy, with a line on stderr.

    Raises ValueError, one sentence, when there is neither, and for a file that is not what its name in the cache says.
    """
    try:
        # Asked once here, for 10 s (HF_HUB_ETAG_TIMEOUT): the download's own question goes on for 6 minutes unanswered.
        get_hf_file_metadata(hf_hub_url(weights.repository, weights.file))
        path = Path(hf_hub_download(weights.repository, weights.file))
    except (
        Exception
    ) as error:  # the client's, its HTTP library's, xet's, the disk's: they share no other class
        cause, cached = _cause(error), try_to_load_from_cache(weights.repository, weights.file)
        if not isinstance(cached, str):
            raise ValueError(
                f"weights.source: {weights.name} cannot be had from {constants.ENDPOINT}/{weights.repository}: {cause}; random "
                "weights are never put in its place: try again, set HF_ENDPOINT to a mirror, copy the HF_HUB_CACHE of a machine "
                f"that has it to {constants.HF_HUB_CACHE} and set HF_HUB_OFFLINE=1, or name a file (weights.source, weights.file)"
            ) from None
        if not constants.HF_HUB_OFFLINE:
            print(
                f"weights: {weights.name} from the cache, perhaps not the newest: {cause}",
                file=sys.stderr,
                flush=True,
            )
        path = Path(cached)
    # A large file's copy is a link to a file that is named by its sha256; the client compares no more than the size.
    file = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", file.name) and (digest := sha256_of(file)) != file.name:
        raise ValueError(
            f"weights.source: {str(file)!r} is damaged (its sha256 is {digest}): delete it and start again"
        )
    return path


def available(weights: HubWeights) -> str | None:
    """Where fetch() would find the file, in words; None where neither the cache nor, within seconds, the hub has it."""
    if isinstance(try_to_load_from_cache(weights.repository, weights.file), str):
        return constants.HF_HUB_CACHE
    try:
        get_hf_file_metadata(hf_hub_url(weights.repository, weights.file), timeout=3)
    except Exception:  # as in fetch()
        return None
    return f"to be fetched from {constants.ENDPOINT}"


def _cause(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, and {constants.HF_HUB_CACHE} has no copy"
    if isinstance(error, HfHubHTTPError):
        token = (
            " (a gated or private one needs HF_TOKEN)"
            if error.response.status_code in {401, 403}
            else ""
        )
        return f"the answer is {error.response.status_code}, {error.server_message or type(error).__name__}{token}"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": .")
