"""A checkpoint as a policy, and its evaluation without a trainer."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from trl_3spo.algorithm.records import Sample, Visit
from trl_3spo.environments.base import Environment, Message, Task
from trl_3spo.environments.failures import NoAction
from trl_3spo.environments.guarded import GuardedEnvironment
from trl_3spo.evaluation.asker import Asker
from trl_3spo.evaluation.chat import Chat
from trl_3spo.evaluation.completing import Completer, Engine, Network
from trl_3spo.evaluation.model_checks import require_chat_template, require_room
from trl_3spo.evaluation.panel import Answer, OnShare, evaluate_policy
from trl_3spo.evaluation.policy_settings import PolicySettings
from trl_3spo.evaluation.processes import Processes
from trl_3spo.evaluation.results import Evaluation
from trl_3spo.recording.files import FOLDER

logger = logging.getLogger(__name__)

_PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")


def evaluate_checkpoint(
    model: str,
    env: Environment,
    tasks: Sequence[Task] | None = None,
    *,
    revision: str | None = None,
    num_episodes: int | None = None,
    temperature: float | None = None,
    batch_size: int = 64,
    seed: int = 0,
    use_vllm: bool = False,
    on_episodes: OnShare | None = None,
    **given: Any,
) -> Evaluation:
    """Play a panel with a saved model and return success rates, overall and by task type.

    The policy is prompted and sampled as in its training, by the `policy.json` that a trainer saves with a model.
    Arguments given here override that file. A trainer's `evaluate` gives the same result with the same tasks, batch
    size and seed, if it generates with transformers. The random generators are left as they were.

    Processes of `accelerate launch` or `torchrun` split the episodes between them, and each returns the result of all.
    If decoding is greedy, the result is the same as with one process.

    Args:
        model: Folder of a checkpoint, or name of a model or PEFT adapter on the Hub.
        env: Environment that ends its episodes itself. A prompt that is too long for the model ends its episode.
        tasks: Panel; `None` takes the environment's default split.
        revision: Branch, tag or commit of the model on the Hub; `None` is the latest.
        num_episodes: Episodes in all; the tasks take turns. `None` plays each task once.
        temperature: Sampling temperature, at least 0; 0 is greedy. `None` takes the `eval_temperature` of the training,
            by default 0.
        batch_size: Number of episodes that are advanced together.
        seed: Seed of the sampling.
        use_vllm: Whether vLLM generates, in one process.
        on_episodes: Function that gets this process's episodes, to record them.
        given: Fields of `PolicySettings`, such as `max_completion_length` or `chat_template_kwargs`.

    Raises:
        ImportError: vLLM is asked for and not installed.
        OSError: There is no such model; `FileNotFoundError` if it should be a folder.
        TypeError: There is no such setting.
        ValueError: There are no tasks, or an option is out of its range. Or the tokenizer has no chat template, or an
            answer takes all positions of the model.
    """
    processes = Processes()
    if use_vllm and processes.num_ranks > 1:
        raise ValueError(
            f"vLLM is asked for in {processes.num_ranks} processes; it plays all episodes in one. Start it without a "
            "launcher, or leave vLLM out."
        )
    policy = load_policy(
        model,
        revision=revision,
        temperature=temperature,
        engine_seed=seed if use_vllm else None,
        place=processes.place,
        **given,
    )
    tasks = env.tasks() if tasks is None else tasks
    num_episodes = len(tasks) if num_episodes is None else num_episodes
    with (
        torch.random.fork_rng(),
        asking_with(env, policy.settings.system_prompt),
        # `None` is off where it is no terminal.
        tqdm(total=num_episodes, desc="evaluation", unit="episode", disable=processes.rank != 0 or None) as bar,
    ):
        torch.manual_seed(seed + processes.rank)
        return evaluate_policy(
            policy,
            env,
            tasks,
            num_episodes=num_episodes,
            batch_size=batch_size,
            ranks=processes,
            progress=lambda count: bar.update(count * processes.num_ranks),
            on_episodes=on_episodes,
        )


class CheckpointPolicy:
    """A model and its tokenizer as a policy. As a function it completes chat messages.

    Args:
        completer: The model.
        tokenizer: Has a chat template.
        settings: Say how it is asked.
        name: Name of the model, for messages.

    Raises:
        ValueError: An answer takes all the positions that the model has.
    """

    def __init__(
        self,
        completer: Completer,
        tokenizer: PreTrainedTokenizerBase,
        settings: PolicySettings,
        name: str = "the model",
    ) -> None:
        require_room(completer.num_positions, settings.max_completion_length)
        self.settings = settings
        self._name = name
        self._completer = completer
        self._tokenizer = tokenizer
        self._chat = self._chat_for(has_tools=False)

    def _chat_for(self, *, has_tools: bool) -> Chat:
        options, ends = self.settings.chat_template_kwargs, self._completer.end_tokens
        return Chat(self._tokenizer, options, name=self._name, end_tokens=ends, has_tools=has_tools)

    def __call__(self, prompts: list[list[Message]]) -> list[str]:
        """Complete chat messages.

        Raises:
            ValueError: A prompt does not fit the model.
        """
        ids = self._chat.prompt_ids(prompts)
        require_room(self._completer.num_positions, self.settings.max_completion_length, max(map(len, ids), default=0))
        completions = self._completer.complete(ids) if ids else []
        return [self._chat.text_of(x, prompt) for x, prompt in zip(completions, ids, strict=True)]

    def answering(self, env: Environment) -> Answer:
        """Return what answers at visits of an environment, with its tools, within the model's positions."""
        asker: Asker | None = None

        def answer(visits: Sequence[Visit]) -> list[Sample]:
            nonlocal asker
            if asker is None:
                has_tools = any(env.tools(visit.task) for visit in visits)
                chat = self._chat_for(has_tools=has_tools)
                asker = Asker(env, chat, self._room, max_turns=self.settings.max_turns)
            asked = asker.ask(visits)
            rows = [x for x in asked if not isinstance(x, NoAction)]
            completions = self._completer.complete([x.ids for x in rows]) if rows else []
            answers = iter([asker.read(x, ids) for x, ids in zip(rows, completions, strict=True)])
            return [Sample([], [], [], x) if isinstance(x, NoAction) else next(answers) for x in asked]

        return answer

    def _room(self) -> int:
        limit = self._completer.num_positions
        rooms = [self.settings.max_prompt_tokens, limit and limit - self.settings.max_completion_length]
        return min((room for room in rooms if room), default=0)


def load_policy(
    model: str,
    *,
    revision: str | None = None,
    temperature: float | None = None,
    engine_seed: int | None = None,
    place: int | None = None,
    **given: Any,
) -> CheckpointPolicy:
    """Load a checkpoint onto the GPU, if there is one, as a policy.

    The settings of the training replace the model's own generation settings, except for the tokens that end an answer.
    See `evaluate_checkpoint`.

    Args:
        model: Folder of a checkpoint, or name on the Hub.
        revision: Branch, tag or commit, see `evaluate_checkpoint`.
        temperature: Sampling temperature, see `evaluate_checkpoint`.
        engine_seed: Seed for vLLM; `None` generates with transformers.
        place: Number of the one GPU to take; `None` takes all.
        given: Fields of `PolicySettings`.
    """
    PolicySettings().with_given(given | {"eval_temperature": temperature})  # before anything is loaded
    is_path = model.startswith(("/", ".", "~")) or model.count("/") > 1
    if is_path and not Path(model).is_dir():
        raise FileNotFoundError(
            f"There is no checkpoint {model}; give the folder that holds config.json or adapter_config.json, or the "
            "name of a model on the Hub."
        )
    model = model if revision is None else _snapshot(model, revision)
    settings = PolicySettings.beside(model).with_given(given | {"eval_temperature": temperature})
    tokenizer = load_tokenizer(model)
    require_chat_template(tokenizer, model)
    completer: Completer
    if engine_seed is not None:
        completer = Engine(model, tokenizer, settings, engine_seed)
    else:
        completer = Network.load(model, tokenizer, settings, place)
    return CheckpointPolicy(completer, tokenizer, settings, model)


def _snapshot(model: str, revision: str) -> str:
    """Download a revision of a model, without a training's checkpoints and records, and return its folder."""
    if Path(model).is_dir():
        raise ValueError(f"revision is {revision!r} and {model} is a folder, which has none; leave the revision out.")
    return snapshot_download(model, revision=revision, ignore_patterns=["*checkpoint*/*", f"{FOLDER}/*"])


@contextmanager
def asking_with(env: Environment, system_prompt: str | None) -> Iterator[None]:
    """Let an environment ask with another system prompt within; `None` leaves it its own."""
    inner = env.env if isinstance(env, GuardedEnvironment) else env
    own = inner.system_prompt
    if system_prompt is None or system_prompt == own:
        yield
        return
    logger.warning("The environment asks with the system prompt of the policy's training and not with its own.")
    inner.system_prompt = system_prompt
    try:
        yield
    finally:
        inner.system_prompt = own


def merge_adapter(adapter: str | Path, output: str | Path, *, dtype: str = "auto") -> None:
    """Add a PEFT adapter to its base model and save both as one plain model, with the tokenizer.

    If the base was quantized in training, the adapter is added to the saved base in full precision. The merged policy
    then differs from the trained one, so evaluate it again.

    Sums are rounded to the data type. In 16 bits this takes away most of an adapter that is small beside the weights,
    as after few updates of reinforcement learning.

    Args:
        adapter: Folder of a trained adapter, its tokenizer beside it.
        output: Folder to write.
        dtype: Data type of the merged weights, such as `"float32"`; `"auto"` is the base's.

    Raises:
        FileNotFoundError: The folder holds no adapter.
        OSError: The base model it names is not there.
    """
    if not (Path(adapter) / "adapter_config.json").exists():
        raise FileNotFoundError(
            f"There is no adapter_config.json in {adapter}; give the folder of an adapter. A folder with config.json "
            "holds a full model, which needs no merging."
        )
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(str(adapter), dtype=dtype)
    model.merge_and_unload().save_pretrained(output)
    load_tokenizer(str(adapter)).save_pretrained(output)
    PolicySettings.beside(str(adapter)).save(output)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer that was saved with a model, padding on the left.

    AutoTokenizer takes Qwen2's own class for Qwen2 models, whatever the files say. One that was saved as a plain
    one, as `word_tokenizer` makes it, would split texts otherwise.
    """
    is_plain = get_tokenizer_config(model).get("tokenizer_class") in _PLAIN_TOKENIZERS
    return (PreTrainedTokenizerFast if is_plain else AutoTokenizer).from_pretrained(model, padding_side="left")
