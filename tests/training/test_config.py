"""Recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safa.data.clips import Spans
from safa.data.degrade import Degradation
from safa.errors import SafaError
from safa.training import TrainConfig

TABLES = [Path("recipes/ablation.toml"), Path("recipes/network.toml")]
RECIPES = sorted(set(Path("recipes").glob("*.toml")) - set(TABLES))


def test_recipe_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 5\n[network]\ngrid = "input"\nchannels = 8\n')
    config = TrainConfig.from_toml(path)
    assert (config.steps, config.network.channels) == (5, 8)
    for text, message in (
        ("stepps = 5", "stepps"),
        ("steps = ", "not valid TOML"),
        ("steps = 0", "at least 1"),
        ("[network]\nx = 1", "unknown names: x"),
        ("[degradation]\nx = 1", "unknown names: x"),
        ("[spans]\nx = [1]", "spans has unknown names"),
        ("warmup = -5", "at least 0"),
        ("still_share = 7", "from 0 to 1"),
        ("epochs = 0", "at least 1, or not there"),
        ("learning_rate = 'x'", "of at least 0"),
        ("precision = 'foo'", "32-true"),
        ("compile = 1", "true or false"),
        ("spans = 3", "wrong kind"),
        ("network = 5", "names with values"),
        ("degradation = 3", "wrong kind"),
        ("degradation.blur = 'x'", "wrong kind"),
        ("degradation.sigma = [1.0]", "two numbers"),
        ("perceptual_loss = 1.0", "needs perceptual_weights"),
        ('extends = "recipe"', "extends itself"),
        ('extends = "nothing"', "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(SafaError, match=message):
            TrainConfig.from_toml(path)


def test_a_recipe_extends_another_table_by_table(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("steps = 5\n[network]\nchannels = 8\nblocks = 2\n")
    (tmp_path / "child.toml").write_text('extends = "base"\nnetwork.blocks = 3\n')
    config = TrainConfig.from_toml(tmp_path / "child.toml", ["network.stem_channels = 4", "batch=2"])
    assert (config.steps, config.network.channels, config.network.blocks) == (5, 8, 3)
    assert (config.network.stem_channels, config.batch) == (4, 2)
    with pytest.raises(SafaError, match="'batch' is not valid"):
        TrainConfig.from_toml(tmp_path / "child.toml", ["batch"])


def test_settings_survive_a_run_folder() -> None:
    config = TrainConfig(spans=Spans((8,), (1.0,)), degradation=Degradation(blur=0.1))
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    config = TrainConfig(steps=100, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    assert config.learning_rate_at(4) == pytest.approx(0.5)
    assert config.learning_rate_at(10) == pytest.approx(1.0)
    assert config.learning_rate_at(55) == pytest.approx(0.55)
    assert config.learning_rate_at(100) == pytest.approx(0.1)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert TrainConfig.from_toml(path).steps > 0


def test_every_setting_is_documented() -> None:
    for settings in (TrainConfig, Degradation):
        described = re.findall(r"^ {8}([a-z_, ]+):", str(settings.__doc__), re.MULTILINE)
        assert {name for names in described for name in names.split(", ")} == set(settings.__dataclass_fields__)
