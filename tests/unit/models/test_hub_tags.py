"""What is known of the hub's weights by their tag, before anything is fetched."""

import pytest
import timm

from bench.models.hub import OPEN_LICENSES, HubWeights, hub_weights
from tests.unit.models.factory import weights_config


def hub_config(**changes):
    return weights_config("hub", **changes)


def test_a_null_tag_is_timms_default():
    a1 = HubWeights(
        name="resnet18.a1_in1k",
        tag="a1_in1k",
        repository="timm/resnet18.a1_in1k",
        file="model.safetensors",
        license="apache-2.0",
    )
    assert hub_weights("resnet18", hub_config()) == a1
    assert hub_weights("resnet18", hub_config(tag="a1_in1k")) == a1


def test_a_tag_names_other_weights():
    assert hub_weights("resnet18", hub_config(tag="tv_in1k")).license == "bsd-3-clause"


def test_a_networks_name_may_say_the_tag_as_in_timm():
    assert hub_weights("resnet18.tv_in1k", hub_config()).name == "resnet18.tv_in1k"


def listed_on_the_hub() -> list:
    """timm's configs of all weights that it says the hub has."""
    cfgs = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained()]
    return [cfg for cfg in cfgs if cfg.hf_hub_id]


def test_every_tag_of_timm_is_known_with_its_licence():
    for cfg in listed_on_the_hub():
        terms = cfg.license or "unknown"
        config = hub_config(tag=cfg.tag, accept_license=terms)
        weights = hub_weights(cfg.architecture, config)
        assert weights.name == f"{cfg.architecture}.{cfg.tag}"
        assert weights.repository == cfg.hf_hub_id
        assert weights.license == terms


@pytest.mark.parametrize(
    ("accepted", "written"), [(None, "None"), ("mit", "'mit'")], ids=["nothing", "another"]
)
def test_a_tag_needs_consent_unless_its_licence_is_open(accepted, written):
    listed = listed_on_the_hub()
    not_open = [cfg for cfg in listed if cfg.license not in OPEN_LICENSES]
    assert 150 < len(not_open) < len(listed) / 2
    for cfg in not_open:
        terms = cfg.license or "unknown"
        name = f"{cfg.architecture}.{cfg.tag}"
        message = f"^weights.accept_license: {written} .*{name}.* {terms}: "
        with pytest.raises(ValueError, match=message):
            hub_weights(cfg.architecture, hub_config(tag=cfg.tag, accept_license=accepted))


@pytest.mark.parametrize(
    ("network", "tag", "sentence"),
    [
        pytest.param(
            "resnet81",
            None,
            "model.name: no network 'resnet81'; nearest: .*resnet18",
            id="a network of nobody's",
        ),
        pytest.param(
            "small_cnn",
            None,
            "weights.source: the hub has no weights of small_cnn; "
            "allowed for it: random, file, self",
            id="a network of ours",
        ),
        pytest.param(
            "legacy_seresnet18",
            None,
            "the hub has no weights of legacy_seresnet18",
            id="a network of timm's without weights",
        ),
        pytest.param(
            "resnet18",
            "a1_in",
            "weights.tag: the hub has no weights 'a1_in' of resnet18; "
            "allowed: a1_in1k, .*mean 'a1_in1k'",
            id="a tag that is none",
        ),
        pytest.param(
            "resnet18",
            "fb_swsl_ig1b_ft_in1k",
            "is cc-by-nc-4.0: set it to 'cc-by-nc-4.0' .*an open tag: a1_in1k, a2_in1k",
            id="a tag whose licence is not open",
        ),
    ],
)
def test_what_the_hub_does_not_have(network, tag, sentence):
    with pytest.raises(ValueError, match=sentence):
        hub_weights(network, hub_config(tag=tag))


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.npz"])
def test_a_file_that_could_run_code_is_refused(monkeypatch, file):
    cfg = timm.get_pretrained_cfg("resnet18")
    cfg.hf_hub_filename = file
    cfgs = {"resnet18.a1_in1k": cfg}
    monkeypatch.setattr("timm.models.get_arch_pretrained_cfgs", lambda name: cfgs)
    with pytest.raises(ValueError, match=rf"resnet18.a1_in1k is '{file}', .*allowed: .safetensors"):
        hub_weights("resnet18", hub_config())
