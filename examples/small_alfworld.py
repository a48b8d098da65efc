"""ALFWorld-style games that a small model can learn in minutes."""

from pathlib import Path

from demo_world import DemoWorld, Tasks

from trl_3spo.environments.alfworld import AlfworldEnv

NUM_UNSEEN, NUM_TRAIN = 200, 4000
HISTORY_LENGTH = 3
MAX_COMPLETION_LENGTH = 10


def make_env(num_games: int, seed: int) -> AlfworldEnv:
    """Return small games in few tokens."""
    return AlfworldEnv(
        generated=num_games,
        seed=seed,
        num_receptacles=(4, 8),
        num_objects=(4, 10),
        max_steps=20,
        prompt_format="action",
        history_length=HISTORY_LENGTH,
    )


def make_tasks(seed: int) -> Tasks:
    """Return the demo's games."""
    return split(make_env(NUM_UNSEEN + NUM_TRAIN, seed))


def split(env: AlfworldEnv) -> Tasks:
    """Return generated games, of which the first are unseen in training."""
    return Tasks(env, train=env.tasks()[NUM_UNSEEN:], unseen=env.tasks()[:NUM_UNSEEN])


ALFWORLD = DemoWorld(
    make_tasks,
    unseen="unseen games",
    warm_start=Path(__file__).parent / "warm_start" / "alfworld",
    max_steps=240,
    options={"max_completion_length": MAX_COMPLETION_LENGTH},
)
