import runpy
import sys
from pathlib import Path

import pytest

from trl_3spo.environments.webshop.catalogue.catalogue import generate_catalogue, write_catalogue

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "webshop.py")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [EXAMPLE, *map(str, arguments)])
    return runpy.run_path(EXAMPLE, run_name="__main__")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_a_small_model_imitates_and_trains_on_given_files(tmp_path, monkeypatch, capsys):
    items, attributes, human = write_catalogue(generate_catalogue(1600), tmp_path)
    files = ("--items", items, "--attributes", attributes, "--human", human)
    run(monkeypatch, "--tiny", *files, "--max-steps", 1, "--output-dir", tmp_path / "run")
    output = capsys.readouterr().out
    assert output.count("evaluation after step") == 2
    assert output.count("tokens/s") == 1, "one line per update"
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize("arguments", [[], ["--tiny", "--model", "x"], ["--tiny", "--items", "x"]])
def test_options_that_do_not_go_together_are_refused(arguments, monkeypatch):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
