"""Online, offline or disabled: the config, else WANDB_MODE, else whether there is a key."""

import re

import pytest

wandb = pytest.importorskip("wandb")

from bench.trackers.wandb import WandbTracker, find_key, resolve_mode  # noqa: E402
from tests.unit.results_factory import make_config  # noqa: E402

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("configured", "environ", "key_present", "mode"),
    [
        ("offline", {"WANDB_MODE": "online"}, True, "offline"),
        ("online", {"WANDB_MODE": "disabled"}, False, "online"),
        ("disabled", {}, True, "disabled"),
        (None, {"WANDB_MODE": "offline"}, True, "offline"),
        (None, {"WANDB_MODE": "online"}, False, "online"),
        (None, {"WANDB_MODE": "disabled"}, True, "disabled"),
        (None, {"WANDB_MODE": ""}, True, "online"),
        (None, {}, True, "online"),
        (None, {}, False, "offline"),
    ],
)
def test_config_beats_the_environment_beats_the_key(configured, environ, key_present, mode):
    assert resolve_mode(configured, environ, key_present).name == mode


@pytest.mark.parametrize(
    ("configured", "environ", "key_present", "reason"),
    [
        ("offline", {"WANDB_MODE": "online"}, True, "wandb.mode asks for it"),
        (None, {"WANDB_MODE": "offline"}, True, "WANDB_MODE asks for it"),
        (None, {}, True, "an API key is there"),
        (None, {}, False, "no API key"),
    ],
)
def test_the_reason_names_what_decided(configured, environ, key_present, reason):
    assert resolve_mode(configured, environ, key_present).reason == reason


@pytest.mark.parametrize(
    ("configured", "environ", "key"),
    [
        (None, {"WANDB_MODE": "ofline"}, "WANDB_MODE"),
        ("ofline", {}, "wandb.mode"),
        ("online", {"WANDB_MODE": "ofline"}, "WANDB_MODE"),
    ],
)
def test_an_unknown_mode_lists_the_allowed(configured, environ, key):
    allowed = "allowed: disabled, offline, online; did you mean 'offline'?"
    with pytest.raises(ValueError, match=re.escape(f"{key}: 'ofline' is not allowed; {allowed}")):
        resolve_mode(configured, environ, True)


def test_an_unknown_mode_is_told_before_any_run(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ValueError, match="'ofline' is not allowed"):
        WandbTracker(make_config())


@pytest.mark.parametrize("mode", [None, "online", "offline", "disabled"])
def test_building_the_tracker_touches_nothing_of_wandb(monkeypatch, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "setup", lambda settings: pytest.fail("wandb was set up"))
    WandbTracker(make_config(wandb={"mode": mode}))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine that nobody logged in on."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    # The tracker sets it; so it is taken back afterwards.
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    wandb.teardown()
    yield tmp_path
    wandb.teardown()


def test_no_key_is_found_where_there_is_none(home, capfd):
    assert not find_key()
    assert capfd.readouterr() == ("", "")


def test_a_key_is_found_in_the_environment_and_not_told(home, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert find_key()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("host", "is_found"), [("wandb.example:8443", True), ("elsewhere.example", False)]
)
def test_a_key_is_found_in_netrc_for_the_server_in_use_only(home, monkeypatch, host, is_found):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8443")
    (home / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    assert find_key() is is_found


def test_a_malformed_key_counts_as_one_so_that_going_online_tells(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert find_key()


def test_a_malformed_key_in_netrc_counts_as_one_too(home):
    (home / "netrc").write_text("machine api.wandb.ai\n  login user\n  password short\n")
    assert find_key()
