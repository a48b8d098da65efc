"""The effect of every option of GRPOConfig on the training of an agent: the tables of docs/options.md, as data.

Some options change the sampling distribution without the importance ratio knowing. The ratio compares the current
policy with the full distribution of the policy that sampled. An option that changes the proportions of tokens is
refused. An option that only cuts tokens off gives a warning, because the proportions of the other tokens stay.
"""

from typing import Literal, NamedTuple

Status = Literal["works", "refused", "no meaning"]


class Rule(NamedTuple):
    """Values that an option may have.

    Args:
        neutral: Values with which the option does nothing.
        reason: Reason for the error or the warning, as a sentence.
    """

    neutral: tuple[object, ...]
    reason: str


_RATIO = "the sampling distribution, and the importance ratio compares full distributions."

REFUSED: dict[str, Rule] = {
    "multi_objective_aggregation": Rule(
        ("sum_then_normalize",),
        "It combines reward functions before advantages are computed; here the algorithm computes the advantages.",
    ),
    "data_seed": Rule((None,), "It shuffles a dataset; here the algorithm orders the tasks. Set seed."),
    "label_smoothing_factor": Rule((0.0,), "It smooths labels, and sampled actions have none."),
    "repetition_penalty": Rule((None, 1.0), f"It changes {_RATIO}"),
    "scale_rewards": Rule(("group",), "The algorithm computes the advantages: set advantage_scaling."),
    "auto_find_batch_size": Rule((False,), "GRPOConfig refuses it: smaller batches would split groups."),
}
"""Options that must keep their default."""

TRUNCATING: dict[str, Rule] = {
    name: Rule(neutral, f"It cuts improbable or forbidden tokens off {_RATIO}")
    for name, neutral in {
        "top_k": (None, 0, -1),
        "top_p": (None, 1.0),
        "min_p": (None, 0.0),
        "vllm_structured_outputs_regex": (None,),
    }.items()
}
"""Options that give a warning."""

REFUSED_IN_GENERATION: dict[str, tuple[object, ...]] = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "do_sample": (None, True),
    "num_return_sequences": (None, 1),
    "n": (None, 1),
    "best_of": (None, 1),
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "presence_penalty": (None, 0.0),
    "frequency_penalty": (None, 0.0),
    "diversity_penalty": (None, 0.0),
    "penalty_alpha": (None, 0.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
    "sequence_bias": (None,),
    "logit_bias": (None,),
    "watermarking_config": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
}
"""Keys of `generation_kwargs` that change the proportions of tokens, with the values that do nothing."""

WARNED_IN_GENERATION: dict[str, tuple[object, ...]] = {
    "top_k": (None, 0, -1),
    "top_p": (None, 1.0),
    "min_p": (None, 0.0),
    "top_h": (None,),
    "typical_p": (None, 1.0),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "min_tokens": (None, 0),
    "bad_words": (None,),
    "bad_words_ids": (None,),
    "suppress_tokens": (None,),
    "begin_suppress_tokens": (None,),
    "allowed_token_ids": (None,),
    "guided_decoding": (None,),
    "structured_outputs": (None,),
}
"""Keys of `generation_kwargs` that cut off tokens, with the values that do nothing."""

_DATASET = "Tasks come from the environment; the dataset only counts steps."
_OWN_EVALUATION = "An evaluation plays whole episodes."

NO_MEANING: dict[str, str] = {
    "shuffle_dataset": "The algorithm orders the tasks, by seed.",
    "max_tool_calling_iterations": "The environment limits the number of steps itself.",
    "log_multimodal": "Observations are text.",
    **dict.fromkeys(
        (
            "dataloader_drop_last",
            "dataloader_in_order",
            "dataloader_multiprocessing_context",
            "dataloader_num_workers",
            "dataloader_persistent_workers",
            "dataloader_pin_memory",
            "dataloader_prefetch_factor",
            "ignore_data_skip",
            "label_names",
            "length_column_name",
            "remove_unused_columns",
            "train_sampling_strategy",
        ),
        _DATASET,
    ),
    **dict.fromkeys(
        (
            "batch_eval_metrics",
            "bf16_full_eval",
            "eval_accumulation_steps",
            "eval_do_concat_batches",
            "eval_use_gather_object",
            "fp16_full_eval",
            "include_for_metrics",
            "prediction_loss_only",
        ),
        _OWN_EVALUATION,
    ),
    "average_tokens_across_devices": "GRPOTrainer normalizes its losses itself.",
    "include_num_input_tokens_seen": "GRPOTrainer logs num_tokens anyway.",
    **dict.fromkeys(("do_train", "do_eval", "do_predict", "local_rank"), "Only scripts and launchers read it."),
}
"""Options without any effect, with the reason."""

NOT_WARNED_OF = frozenset({"do_train", "do_eval", "do_predict", "local_rank", "dataloader_pin_memory"})
"""Options without any effect that give no warning: scripts, launchers, transformers or other options set them."""

NOTES: dict[str, str] = {
    "num_generations": "3SPO: largest number of actions per state. Baselines: episodes per task.",
    "reward_weights": "Weights of the trainer's `reward_funcs`, which score the text of answers.",
    "num_generations_eval": "Episodes per task in an evaluation; 1 by default.",
    "per_device_train_batch_size": "3SPO counts sampled actions, the baselines count episodes.",
    "per_device_eval_batch_size": "Number of evaluation episodes played at once.",
    "num_train_epochs": "An epoch has as many steps as GRPO would make over the training tasks. Prefer max_steps.",
    "metric_for_best_model": "A metric of the evaluation, such as `success_rate`. `loss` is refused.",
    "load_best_model_at_end": "Default metric: `eval_success_rate`; with named panels, the first panel's.",
    "bf16": "Refused if no device computes in bfloat16, for example on a CPU.",
    "fp16": "Refused on a CPU, where it would do nothing.",
    "mask_truncated_completions": "If a batch has no completion left to train on, a warning says so.",
    "log_completions": "Terminal control characters in prompts and completions are escaped.",
    "generation_kwargs": "Some keys are refused, some give a warning; see above.",
    **dict.fromkeys(TRUNCATING, "A warning at the start; see above."),
    "trust_remote_code": "Runs code written by the model's author.",
    "use_transformers_continuous_batching": "Not tested here.",
    "transformers_continuous_batching_config": "Not tested here.",
    "use_transformers_paged": "TRL's former name of `use_transformers_continuous_batching`.",
    "vllm_importance_sampling_cap": "TRL's former name of `vllm_importance_sampling_clip_max`.",
    "vllm_mode": "`server` needs a CUDA device.",
    "neftune_noise_alpha": "Not tested here.",
    "use_liger_kernel": "Not tested here.",
    "liger_kernel_config": "Not tested here.",
    "router_aux_loss_coef": "Not tested here.",
    "entropy_coef": "Padding rows do not weaken it, with any `loss_type`.",
}
"""Notes on options that work."""


def status(name: str) -> Status:
    """Return the effect of an option of GRPOConfig; an option not named in this file is left to TRL and works."""
    if name in REFUSED:
        return "refused"
    return "no meaning" if name in NO_MEANING else "works"


def note(name: str) -> str:
    """Return the note on an option, or an empty string."""
    return REFUSED[name].reason if name in REFUSED else NO_MEANING.get(name) or NOTES.get(name, "")
