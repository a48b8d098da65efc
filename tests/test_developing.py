"""The page for developers: its algorithm of a few lines learns."""

import re
from pathlib import Path

from training import SpokenCorridor, config_for, tokenizer_for, untrained
from trl_3spo.training.agent_config import AgentConfig
from trl_3spo.training.agent_trainer import AgentTrainer

PAGE = Path(__file__).parents[1] / "docs" / "developing.md"


def algorithm_of_the_page():
    (block,) = re.findall(r"```python\n(.*?class Reinforce.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    return names["Reinforce"], block


def test_the_algorithm_of_the_page_is_short_and_learns(tmp_path):
    reinforce, block = algorithm_of_the_page()
    body = block[block.index("class Reinforce") :]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 36
    env = SpokenCorridor()
    tokenizer = tokenizer_for(env)
    config = config_for(
        tmp_path,
        AgentConfig,
        per_device_train_batch_size=64,
        learning_rate=4e-3,
        max_steps=40,
        eval_temperature=1.0,
        save_strategy="steps",
        save_steps=20,
    )
    trainer = AgentTrainer(
        untrained(tokenizer), env, config, algorithm=reinforce(env, env.tasks()), processing_class=tokenizer
    )
    many = [*env.tasks()] * 50
    before = trainer.evaluate(many)["eval_success_rate"]
    trainer.train()
    after = trainer.evaluate(many)["eval_success_rate"]
    assert after > before + 0.3
    assert trainer.algorithm.order.position == 40 * 64
