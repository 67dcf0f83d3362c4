"""The command: what it makes of its arguments, and what it says to wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from swav_ray import pretrain, settings
from swav_ray.config import ConfigError
from swav_ray.launch.connect import connect
from swav_ray.recipes import cifar, quickstart


def test_no_arguments_are_the_quickstart() -> None:
    assert pretrain.parse([]) == quickstart()


def test_settings_come_after_the_file_and_the_file_after_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train: {epochs: 60, global_batch_size: 64}\nqueue: {length: 0}\n")
    config = pretrain.parse(["cifar", "--config", str(file), "--train.epochs", "70"])
    assert (config.train.epochs, config.train.global_batch_size) == (70, 64)
    assert config.model == cifar().model


def test_a_runs_own_config_gives_the_run_again(tmp_path: Path) -> None:
    config = pretrain.parse(["cifar", "--optim.base_lr", "0.3", "--data.uri", "/x"])
    (tmp_path / "config.yaml").write_text(settings.to_yaml(config))
    assert pretrain.parse(["--config", str(tmp_path / "config.yaml")]) == config


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["swav_100e"], "recipe = 'swav_100e': no such recipe; did you mean swav_100ep?"),
        (["--train.epoch", "1"], "did you mean train.epochs?"),
        (["--optim.base_lr", "-1"], "optim.base_lr = -1.0: must be above 0"),
        (["--config", "/nowhere.yaml"], "is no readable YAML file"),
        (["--config"], "argument --config: expected one argument"),
        (["--run.storage", "gs://b/x"], "the scheme gs:// is not known"),
        (["swav_100ep", "--run.storage", "TMP"], "data.uri = '': names no images"),
        (["quickstart", "--run.storage", "TMP", "--run.name", ""], "run.name = '': names no run"),
        (["swav_100ep", "--run.storage", "TMP", "--data.uri", "/nowhere"], "/nowhere"),
    ],
)
def test_the_users_mistake_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert pretrain.main([str(tmp_path) if argument == "TMP" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_file_that_no_credentials_open_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert pretrain.main(["--config", "s3://bucket/run.yaml"]) == 2
    error = capsys.readouterr().err
    assert "nobody" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS = '{address}': must be the address of a cluster that is up"):
        connect(logs=False)


def test_help_names_recipes_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["cifar", "--help"]) == 0
    text = capsys.readouterr().out
    assert "swav_rn50w4_400ep" in text
    assert "--model.prototypes  [512 prototypes]" in text
