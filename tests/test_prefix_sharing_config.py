"""The one option of prefix sharing is given in Python, on the command line and in a file, and checked."""

import pytest
from trl import TrlParser

from trl_3spo.prefix_sharing.config import PrefixSharingConfig
from trl_3spo.training.agent_config import AgentConfig

CONFIGS = [PrefixSharingConfig, AgentConfig]


def settings(folder):
    return {"output_dir": str(folder), "use_cpu": True, "bf16": False}


@pytest.mark.parametrize("config_class", CONFIGS)
def test_a_value_that_there_is_not_is_refused(tmp_path, config_class):
    with pytest.raises(ValueError, match=r"prefix_sharing is 'maybe'; it must be 'auto', 'tree', 'cache' or 'off'"):
        config_class(prefix_sharing="maybe", **settings(tmp_path))


@pytest.mark.parametrize("config_class", CONFIGS)
def test_attention_over_tries_is_checked(tmp_path, config_class):
    with pytest.raises(ValueError, match=r"tree_attention is 'fast'; it must be 'auto', 'sdpa' or 'flex'"):
        config_class(tree_attention="fast", **settings(tmp_path))
    with pytest.raises(ValueError, match=r"FlexAttention has no gradients on a CPU; set 'sdpa'"):
        config_class(tree_attention="flex", **settings(tmp_path))


@pytest.mark.parametrize("config_class", CONFIGS)
def test_the_bound_of_a_trie_is_checked(tmp_path, monkeypatch, config_class):
    with pytest.raises(ValueError, match=r"max_tree_tokens is 0; it must be at least 1, or None for no limit"):
        config_class(max_tree_tokens=0, **settings(tmp_path))
    with pytest.raises(ValueError, match=r"max_tree_tokens is 9 and prefix_sharing is 'off', which makes no tries"):
        config_class(max_tree_tokens=9, prefix_sharing="off", **settings(tmp_path))
    monkeypatch.setattr(config_class, "world_size", 2)
    with pytest.raises(ValueError, match=r"max_tree_tokens is 9 and there are 2 processes.*gradient_accumulation"):
        config_class(max_tree_tokens=9, **settings(tmp_path))


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("value", ["auto", "tree", "cache", "off"])
def test_the_command_line_gives_it(tmp_path, config_class, value):
    arguments = ["--output_dir", str(tmp_path), "--use_cpu", "--bf16", "false", "--prefix_sharing", value]
    (config,) = TrlParser(config_class).parse_args_and_config(arguments)
    assert config.prefix_sharing == value


def test_the_command_line_names_the_choices(tmp_path, capsys):
    with pytest.raises(SystemExit):
        TrlParser(PrefixSharingConfig).parse_args_and_config(["--output_dir", str(tmp_path), "--prefix_sharing", "all"])
    said = capsys.readouterr().err.replace("'", "")
    assert "choose from auto, tree, cache, off" in said


def test_a_file_gives_it(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\nbf16: false\nprefix_sharing: tree\n")
    (config,) = TrlParser(PrefixSharingConfig).parse_args_and_config(["--config", str(file)])
    assert config.prefix_sharing == "tree"
