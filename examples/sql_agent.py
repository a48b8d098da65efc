"""Train a tiny model to answer questions by SQL, with a class written for TRL's `environment_factory`.

    python examples/sql_agent.py --json FILE

Every task has a database of its own. The agent may run queries, and submits the one whose result answers the question.
The model is first shown how a query is run and one submitted, by a teacher that now and then takes another than the
question asks for. 3SPO then teaches which question needs which query. It is evaluated on pairs of a question and a
customer or an item that it never trained on.
"""

import random
import sqlite3
import time
from itertools import product
from typing import Any

from tiny_agents import demonstrations, imitate, options_of, reinforce, report

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.adapters.replay import ReplayEnvironment
from trl_3spo.environments.adapters.tool_environment import ToolEnvironment
from trl_3spo.environments.base import Environment
from trl_3spo.evaluation.chat import described
from trl_3spo.tiny import tiny_model, word_tokenizer

CUSTOMERS = ("ann", "bob", "cleo", "dan", "eve", "finn")
ITEMS = ("apple", "book", "chair", "drum", "egg", "fork")
QUESTIONS = {
    "How many orders": "count(*)",
    "What is the total amount of all orders": "sum(amount)",
    "What is the largest order": "max(amount)",
    "What is the smallest order": "min(amount)",
}
FILTERS = {**{f"of {name}": ("customer", name) for name in CUSTOMERS}, **{f"for {x}": ("item", x) for x in ITEMS}}
NUM_ORDERS = 14
UNIT = r"</?\w+=?\w*>|'\w+'|\w+\(\w+\)|count\(\*\)|\n"
"""What is one token besides words: tags, texts in quotes, functions, and the end of a line."""


class SqlAgent:
    """As one writes it for TRL: tools are methods, a reset takes a row, and nothing here is of this library."""

    def reset(self, prompt: str, orders: list, answer: int, **kwargs) -> str:
        """Fill the database."""
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.database.execute("create table orders (customer text, item text, amount integer)")
        self.database.executemany("insert into orders values (?, ?, ?)", orders)
        self.expected = answer
        self.is_over = False
        self.reward = 0.0
        return "\nTable orders : customer , item , amount ."

    def query(self, sql: str) -> str:
        """
        Run a query.

        Args:
            sql: The query.
        """
        return "\n".join(" ".join(map(str, row)) for row in self.database.execute(sql).fetchmany(5))

    def submit(self, sql: str) -> str:
        """
        Give the query whose result is the answer , and end.

        Args:
            sql: The query.
        """
        self.is_over = True
        self.reward = float(self.database.execute(sql).fetchall() == [(self.expected,)])
        return "Thank you ."

    def get_reward(self) -> float:
        """Return 1 for the right answer."""
        return self.reward


def rows(seed: int, count: int, *, unseen: bool) -> list[dict[str, object]]:
    """Return dataset rows, each with a database of its own. A fifth of all questions is kept for the unseen ones."""
    rng = random.Random(f"{seed} {unseen}")
    kept = set(random.Random(0).sample(list(product(QUESTIONS, FILTERS)), len(QUESTIONS) * len(FILTERS) // 5))
    pairs = [pair for pair in product(QUESTIONS, FILTERS) if (pair in kept) == unseen]
    return [_row(rng, *rng.choice(pairs)) for _ in range(count)]


def _row(rng: random.Random, question: str, about: str) -> dict[str, object]:
    column, value = FILTERS[about]
    place = ("customer", "item").index(column)
    while True:
        orders = [(rng.choice(CUSTOMERS), rng.choice(ITEMS), rng.randint(1, 9)) for _ in range(NUM_ORDERS)]
        amounts = [order[2] for order in orders if order[place] == value]
        # With several orders the four questions have different answers.
        if len(amounts) > 1:
            break
    answer = {"How": len(amounts), "total": sum(amounts), "largest": max(amounts), "smallest": min(amounts)}
    word = next(word for word in answer if word in question)
    return {"prompt": f"{question} {about} ?", "orders": orders, "answer": answer[word], "kind": word}


def make_env(seed: int, num_train: int, num_unseen: int) -> Environment:
    """Return the agent's environment. A database has no copy, so it is filled and asked again."""
    splits = {"train": rows(seed, num_train, unseen=False), "test": rows(seed, num_unseen, unseen=True)}
    return ReplayEnvironment(
        lambda: ToolEnvironment(
            SqlAgent, splits, is_done=lambda world: world.is_over, state_key=lambda world: world.is_over, max_steps=4
        )
    )


def call(tool: str, function: str, column: str, value: str) -> str:
    """Return an answer that runs or submits a query."""
    sql = f"select {function}\nfrom orders\nwhere {column} = '{value}'"
    return f"<function={tool}>\n<parameter=sql>\n{sql}\n</parameter>\n</function>"


class Teacher:
    """Runs a query and submits one. Now and then it is not what the question asks for.

    Args:
        seed: Of its choices.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def __call__(self, visit: Visit) -> str:
        """Return its answer at a visit."""
        prompt = visit.task.data["prompt"]
        tool = "submit" if visit.depth else "query"
        return call(tool, self._choose(QUESTIONS, prompt), *self._choose(FILTERS, prompt))

    def _choose(self, meanings: dict[str, Any], prompt: str) -> Any:
        """Return what a part of the prompt means most of the time, and what anything means otherwise."""
        meant = next(meaning for part, meaning in meanings.items() if part in prompt)
        return meant if self._rng.random() < 0.8 else self._rng.choice(list(meanings.values()))


def make_tokenizer():
    """Return a tokenizer for questions, tools, queries and numbers."""
    env = make_env(0, 200, 200)
    texts = [row["prompt"] for split in ("train", "test") for row in (task.data for task in env.tasks(split))]
    calls = [call("query", *about) for about in _all_queries()]
    numbers = " ".join(map(str, range(9 * NUM_ORDERS)))
    task = env.tasks()[0]
    first, last = env.reset(task).text, call("submit", *_all_queries()[0])
    told = [first, env.step(last).observation.text, described(env.tools(task)), "query submit :"]
    return word_tokenizer([*texts, *calls, *told, last, numbers], unit=UNIT)


def _all_queries() -> list[tuple[str, str, str]]:
    return [(function, *about) for function, about in product(QUESTIONS.values(), FILTERS.values())]


def main() -> None:
    """Run the example."""
    options = options_of(__doc__, max_steps=120)
    started = time.perf_counter()
    tokenizer = make_tokenizer()
    env = make_env(options.seed, 400, options.num_unseen)
    model = tiny_model(tokenizer, hidden_size=64, num_layers=2, initializer_range=0.05, seed=options.seed)
    lessons = make_env(options.seed + 1, round(1500 * options.share), 1)
    shown = demonstrations(lessons, tokenizer, lessons.tasks(), Teacher(options.seed))
    imitate(model, tokenizer, shown, options.output_dir, num_epochs=8, learning_rate=3e-3)
    result = reinforce(
        model,
        tokenizer,
        env,
        options.output_dir,
        unseen=env.tasks("test"),
        started=started,
        seed=options.seed,
        max_steps=options.max_steps,
        learning_rate=6e-4,
        # Every query tells something new. A bonus for that, small as it is, outweighs a success that is rare at first.
        novelty_weight=0.0,
        per_device_train_batch_size=96,
        max_completion_length=32,
    )
    report(result, __file__, options)


if __name__ == "__main__":
    main()
