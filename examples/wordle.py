"""Train a tiny model to play a small Wordle for partial credit.

    python examples/wordle.py --json FILE

Words have three letters: a consonant, a vowel, a consonant. The board shows which letters are in the word, which are
wrong in each place, and those that were right in theirs. A game pays a third for every letter that was right in its
best guess, so a lost one can still pay two thirds: `objective="reward"`. The model first imitates a teacher that
guesses at random and mostly keeps letters that were right. It is evaluated on words that it never had to find in
training.
"""

import random
import time
from collections.abc import Sequence

from tiny_agents import demonstrations, imitate, options_of, reinforce, report

from trl_3spo.algorithm.records import Visit
from trl_3spo.environments.answers import action_in
from trl_3spo.environments.base import Observation, StepResult, Task
from trl_3spo.environments.limited import LimitedEnvironment
from trl_3spo.tiny import tiny_model, word_tokenizer

CONSONANTS, VOWELS = "bdgnpt", "aeiou"
DICTIONARY = """
    bad bag ban bat bed beg ben bet bid big bin bit bob bog bud bug bun but dad den did dig dip dog dot dub dug gap get
    gig god got gun gut nab nag nap net nib nip nod not nun nut pad pan pat peg pen pet pig pin pit pod pop pot pub pun
    pup put tab tag tan tap ten tin tip top tub tug
"""
WORDS = DICTIONARY.split()
NUM_UNSEEN = 20

Guesses = tuple[str, ...]


def marks(word: str, guess: str) -> str:
    """Return for each letter of a guess whether it is in its place, belongs elsewhere, or is not in the word."""
    left = [letter for letter, guessed in zip(word, guess, strict=True) if letter != guessed]
    signs = ""
    for letter, guessed in zip(word, guess, strict=True):
        if letter == guessed:
            signs += "+"
        elif guessed in left:
            left.remove(guessed)
            signs += "?"
        else:
            signs += "-"
    return signs


class Wordle(LimitedEnvironment[Guesses]):
    """Find a word. The state is the guesses so far.

    Args:
        max_steps: Guesses of a game.
    """

    reward_range = (0.0, 1.0)

    def __init__(self, max_steps: int = 6) -> None:
        super().__init__(max_steps)
        tasks = [Task(word, data=word) for word in random.Random(0).sample(WORDS, len(WORDS))]
        self._splits = {"train": tasks[NUM_UNSEEN:], "test": tasks[:NUM_UNSEEN]}

    def tasks(self, split: str | None = None) -> Sequence[Task]:
        """Return the words to find."""
        if split not in (None, *self._splits):
            raise ValueError(f"There is no split {split!r}: choose train or test.")
        return self._splits[split or "train"]

    def _begin(self, task: Task) -> tuple[Guesses, Observation]:
        if task.data not in WORDS:
            raise ValueError(f"Task {task.id!r} is not one of this environment: choose one of tasks().")
        return (), self._observe(task, (), 0)

    def _act(self, now, action):
        guesses, word, time = now.state, now.task.data, now.num_steps + 1
        if len(action) != len(word) or not action.isalpha():
            return guesses, StepResult.going_on(self._observe(now.task, guesses, time))
        best, guesses = _best(word, guesses), (*guesses, action)
        shown, reward = self._observe(now.task, guesses, time), (_best(word, guesses) - best) / len(word)
        if action == word:
            return guesses, StepResult.ended(shown, success=True, reward=reward)
        return guesses, StepResult.going_on(shown, reward=reward)

    def _observe(self, task: Task, guesses: Guesses, time: int) -> Observation:
        # How many letters are known, and how many were right in one guess, is what decides; which word it is, is not.
        progress = len(_found(task.data, guesses)), _best(task.data, guesses)
        keys = (((task.id, guesses), time), (progress, time), (time,))
        return Observation(_board(task.data, guesses), (task.id, guesses), score_keys=keys)

    def prompt(self, task, observation, turns):
        """Return the game so far."""
        return [{"role": "user", "content": observation.text}]

    def parse_action(self, completion: str) -> str:
        """Return the word that an answer spells: a letter is a token."""
        action = action_in(completion)
        return action.replace(" ", "") if action else action


def _board(word: str, guesses: Guesses) -> str:
    """Return what the guesses have shown: letters that are in the word, those that are wrong by place, and the word."""
    shown = [
        (*pair, place) for guess in guesses for place, pair in enumerate(zip(guess, marks(word, guess), strict=True))
    ]
    inside = sorted({letter for letter, sign, _ in shown if sign == "?"})
    lines = [f"in {' '.join(inside)}"]
    for place in range(len(word)):
        wrong = sorted({letter for letter, sign, where in shown if where == place and sign != "+"})
        lines.append(f"not {' '.join(wrong)}")
    found = _found(word, guesses)
    return "\n".join([*lines, " ".join(word[place] if place in found else "." for place in range(len(word)))])


def _found(word: str, guesses: Guesses) -> set[int]:
    """Return the places whose letters have been found."""
    return {place for guess in guesses for place in range(len(word)) if guess[place] == word[place]}


def _best(word: str, guesses: Guesses) -> int:
    """Return how many letters were right in the best guess."""
    return max((marks(word, guess).count("+") for guess in guesses), default=0)


class Teacher:
    """Guesses at random: a consonant, a vowel, a consonant. A letter in its place is mostly kept.

    Args:
        seed: Of its guesses.
        keeps: How often a letter in its place is kept.
    """

    def __init__(self, seed: int, keeps: float = 0.7) -> None:
        self._rng = random.Random(seed)
        self._keeps = keeps

    def __call__(self, visit: Visit) -> str:
        """Return a guess, with blanks between its letters."""
        letters = [self._rng.choice(choice) for choice in (CONSONANTS, VOWELS, CONSONANTS)]
        found = _found(visit.task.data, visit.observation.state_key[1])
        for place in found:
            if self._rng.random() < self._keeps:
                letters[place] = visit.task.data[place]
        return " ".join(letters)


def main() -> None:
    """Run the example."""
    options = options_of(__doc__, max_steps=400)
    started = time.perf_counter()
    env = Wordle()
    tokenizer = word_tokenizer([f"in not . {' '.join(CONSONANTS + VOWELS)}"])
    model = tiny_model(tokenizer, hidden_size=64, num_layers=2, initializer_range=0.1, seed=options.seed)
    lessons = env.tasks() * max(round(24 * options.share), 1)
    shown = demonstrations(env, tokenizer, lessons, Teacher(options.seed))
    imitate(model, tokenizer, shown, options.output_dir, num_epochs=2, learning_rate=3e-3)
    result = reinforce(
        model,
        tokenizer,
        env,
        options.output_dir,
        unseen=env.tasks("test"),
        num_generations_eval=max(options.num_unseen // NUM_UNSEEN, 1),
        started=started,
        objective="reward",
        seed=options.seed,
        max_steps=options.max_steps,
        learning_rate=2e-3,
        per_device_train_batch_size=256,
        max_completion_length=4,
    )
    report(result, __file__, options)


if __name__ == "__main__":
    main()
