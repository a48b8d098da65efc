"""What the card of a trained policy says, and that the Hub's client reads it."""

import logging

import peft
import pytest
from huggingface_hub import ModelCard

from training import config_for, corridor_trainer, tokenizer_for, untrained
from trl_3spo import ThreeSPOTrainer
from trl_3spo.environments.corridor import CorridorEnv
from trl_3spo.environments.mixed import MixedEnvironment
from trl_3spo.evaluation.model_card import (
    Before,
    CardFacts,
    environment_section,
    environment_tags,
    eval_results,
    quick_start,
    results_section,
)
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.evaluation.results import EpisodeResult, summarize
from trl_3spo.training.card import hyperparameters, licence, warn_of_unnamed_base


def episodes(*, solved, pays=None):
    """Four episodes of two types, some of them solved; what they pay is their success if nothing else is said."""
    return [
        EpisodeResult(
            f"task {i}", ("shoes", "hats")[i % 2], i < solved, 3, 0, paid=float(i < solved) if pays is None else pays[i]
        )
        for i in range(4)
    ]


def facts(evaluations, **changes):
    return CardFacts(CorridorEnv(), {"length": 7}, PolicySettings(eval_temperature=0.5), evaluations, **changes)


def test_a_score_of_its_own_stands_beside_the_success():
    paid = summarize(episodes(solved=1, pays=[1.0, 0.5, 0.25, 0.25]))
    found = eval_results(facts({"": paid}))
    by_name = {(x.dataset_config, x.metric_type): x for x in found}
    assert list(by_name) == [
        (kind, name) for kind in (None, "hats", "shoes") for name in ("success_rate", "mean_reward")
    ]
    assert by_name[None, "success_rate"].metric_value == 0.25
    assert by_name[None, "mean_reward"].metric_value == 0.5
    assert by_name["shoes", "mean_reward"].metric_value == 0.625
    args = by_name[None, "success_rate"].metric_args
    assert (args["num_episodes"], args["num_tasks"], args["temperature"]) == (4, 4, 0.5)
    assert args["low"] == pytest.approx(paid.success.low, abs=1e-6)
    assert "| all | 4 | 25.0% | 4.6% to 69.9% | 0.5 |" in results_section(facts({"": paid}))


def test_a_return_that_is_the_success_is_not_said_twice():
    plain = summarize(episodes(solved=2))
    assert {x.metric_type for x in eval_results(facts({"": plain}))} == {"success_rate"}
    assert "mean reward" not in results_section(facts({"": plain}))


def test_panels_have_their_names_and_what_was_before():
    seen, unseen = summarize(episodes(solved=3)), summarize(episodes(solved=2))
    given = facts({"seen": seen, "unseen": unseen}, before={"unseen": Before(40, 0.125, 0.1, 0.2)})
    assert {x.dataset_split for x in eval_results(given)} == {"seen", "unseen"}
    text = results_section(given)
    assert "(seen): 4 tasks, 4 episodes, at temperature 0.5." in text
    assert "At the first evaluation, after 40 steps, the success rate was 12.5% (10.0% to 20.0%)." in text
    assert text.index("(seen)") < text.index("(unseen)") < text.index("after 40 steps")


def test_without_evaluation_the_card_says_so(tmp_path):
    corridor_trainer(tmp_path).create_model_card()
    card = ModelCard.load(tmp_path / "README.md")
    assert not card.data.eval_results
    assert "has not been evaluated yet" in card.text


def test_options_show_no_path_of_this_machine():
    given = facts({}, split=None)
    given = CardFacts(given.env, {"items": "/home/me/items.json", "mode": "sane", "split": None}, given.settings)
    assert environment_section(given).count("|") == 3 * 3
    assert "| mode | sane |" in environment_section(given)


def test_hyperparameters_are_those_that_were_chosen(tmp_path):
    trainer = corridor_trainer(tmp_path, beta=0.0, epsilon=0.3)
    found = hyperparameters(trainer)
    assert (found["epsilon"], found["learning_rate"], found["seed"]) == (0.3, 1e-3, 7)
    assert not {"beta", "output_dir", "hub_token", "vllm_server_host"} & found.keys()


def test_environments_are_tags():
    assert environment_tags(CorridorEnv()) == ["corridor"]
    assert environment_tags(MixedEnvironment({"a": CorridorEnv(length=3), "b": CorridorEnv(length=4)})) == ["corridor"]


def test_what_an_environment_says_cannot_leave_the_code():
    messages = [{"role": "user", "content": "```\n'''\"\"\" \x1b[2J \ud800 \u202e <script>{name}"}]
    text = quick_start("me/it", messages, [], PolicySettings())
    fence = text.split("python\n")[0].split()[-1]
    code = text.split(f"{fence}python\n")[1].split(f"\n{fence}\n")[0]
    names = {}
    exec(code[: code.index("tokenizer =")].replace("from transformers", "# from transformers"), names)
    assert names["messages"] == messages
    assert text.isascii()


def test_the_code_samples_as_the_policy_was_sampled():
    settings = PolicySettings(
        eval_temperature=0.7, top_k=20, max_completion_length=9, chat_template_kwargs={"enable_thinking": False}
    )

    def look(place: int) -> str:
        """Look at a place.

        Args:
            place: Its number.
        """

    text = quick_start("me/it", [{"role": "user", "content": "hi"}], [look], settings)
    names = {}
    exec(text[text.index("name =") : text.index("tokenizer =")], names)
    assert names["generation"]["max_new_tokens"] == 9
    assert (names["generation"]["temperature"], names["generation"]["top_k"]) == (0.7, 20)
    assert names["template"]["enable_thinking"] is False
    assert names["template"]["tools"][0]["function"]["name"] == "look"


def test_a_licence_is_the_given_one_or_that_of_the_bases_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\ntext")
    assert licence("mit", str(tmp_path)) == {"license": "mit"}
    assert licence(None, str(tmp_path)) == {"license": "other", "license_name": "mine", "license_link": "LICENSE"}
    assert licence(None, "") == {}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "README.md").write_text("---\n- a\n---\n")
    assert licence(None, str(tmp_path / "broken")) == {}


def test_an_adapter_of_a_model_in_memory_names_no_base(tmp_path, caplog):
    env = CorridorEnv(length=4)
    tokenizer = tokenizer_for(env)
    lora = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    options = config_for(tmp_path)
    trainer = ThreeSPOTrainer(untrained(tokenizer), env, options, processing_class=tokenizer, peft_config=lora)
    with caplog.at_level(logging.WARNING):
        warn_of_unnamed_base(trainer)
    assert "names no base, which was made in memory, so nobody else can load it" in caplog.text
