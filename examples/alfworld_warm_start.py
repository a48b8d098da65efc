"""Make the starting point of the demo in ALFWorld-style games; `imitation.py` says how.

python examples/alfworld_warm_start.py --output-dir examples/warm_start/alfworld
"""

from imitation import Lessons, Phase, main
from small_alfworld import HISTORY_LENGTH, MAX_COMPLETION_LENGTH, make_env

from trl_3spo.environments.alfworld.expert.demonstrations import advisor
from trl_3spo.environments.alfworld.expert.expert import SearchExpert
from trl_3spo.environments.base import Observation
from trl_3spo.environments.demonstrations import Expert

PHASES = (
    # Prompts repeat their own words: reading them teaches to copy long before actions alone would.
    Phase(seed=2, num_tasks=4000, learning_rate=2e-3, noise=0.3, completion_only_loss=False),
    Phase(seed=3, num_tasks=15000, learning_rate=1e-3, noise=0.3),
    Phase(seed=6, num_tasks=2500, learning_rate=7e-4, plays_itself=True),
    Phase(seed=7, num_tasks=2500, learning_rate=7e-4, plays_itself=True),
    Phase(seed=5, num_tasks=350, learning_rate=5e-4, noise=0.5, demonstrates_noise=True),
)


def new_expert(first: Observation, seed: int) -> Expert:
    """Return an expert that plays by what the prompts show."""
    return advisor(SearchExpert(first.text, seed, history_length=HISTORY_LENGTH))


LESSONS = Lessons(
    make_env,
    new_expert,
    PHASES,
    unit=r"[a-z]+ [0-9]+",  # numbered things, such as `cabinet 3`
    ignored_actions=["help"],
    max_completion_length=MAX_COMPLETION_LENGTH,
    unseen=["Nothing happens."],  # all of the expert's actions are admissible
)

if __name__ == "__main__":
    main(__doc__, LESSONS)
