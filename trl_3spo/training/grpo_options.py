"""What becomes of every option of GRPOConfig when an agent is trained: the table of docs/options.md, as data.

Some options change which tokens are sampled in a way that the importance ratio does not know of: it compares the
present policy with the whole distribution of the one that sampled. What changes the tokens' proportions is refused.
What only cuts off part of them is warned of, because the proportions of the rest stay.
"""

from typing import Literal, NamedTuple

Status = Literal["works", "refused", "no meaning"]


class Rule(NamedTuple):
    """What an option may be.

    Args:
        neutral: Values with which it does nothing.
        reason: Why it is refused or warned of, as a sentence.
    """

    neutral: tuple[object, ...]
    reason: str


_RATIO = "samples would be of another distribution than the one that the importance ratio compares with"

REFUSED: dict[str, Rule] = {
    "multi_objective_aggregation": Rule(
        ("sum_then_normalize",),
        "It adds up reward functions before advantages are made, and these are the algorithm's.",
    ),
    "data_seed": Rule((None,), "It orders a dataset, and the order of tasks is the algorithm's: set seed."),
    "label_smoothing_factor": Rule((0.0,), "It smooths labels, and samples are no labels."),
    "repetition_penalty": Rule((None, 1.0), f"With it {_RATIO}."),
    "scale_rewards": Rule(("group",), "Advantages are the algorithm's: set advantage_scaling."),
    "auto_find_batch_size": Rule((False,), "GRPOConfig refuses it: smaller batches would split groups."),
}
"""Options that must stay as they are."""

TRUNCATING: dict[str, Rule] = {
    name: Rule(neutral, f"With it {_RATIO}, cut off where a token is improbable or not allowed.")
    for name, neutral in {
        "top_k": (None, 0, -1),
        "top_p": (None, 1.0),
        "min_p": (None, 0.0),
        "vllm_structured_outputs_regex": (None,),
    }.items()
}
"""Options that are warned of."""

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
"""Keys of `generation_kwargs` that change the proportions of tokens, by the values that do not."""

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
"""Keys of `generation_kwargs` that cut off tokens, by the values that do not."""

_DATASET = "Tasks come from the environment; the dataset only counts steps."
_OWN_EVALUATION = "Evaluations are whole episodes."

NO_MEANING: dict[str, str] = {
    "shuffle_dataset": "The order of tasks is the algorithm's, by seed.",
    "max_tool_calling_iterations": "Steps are the environment's, which limits them itself.",
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
    "average_tokens_across_devices": "GRPOTrainer's losses say themselves what they are divided by.",
    "include_num_input_tokens_seen": "GRPOTrainer logs num_tokens anyway.",
    **dict.fromkeys(("do_train", "do_eval", "do_predict", "local_rank"), "Only scripts and launchers read it."),
}
"""Options that nothing depends on, and why."""

NOT_WARNED_OF = frozenset({"do_train", "do_eval", "do_predict", "local_rank", "dataloader_pin_memory"})
"""Options without a meaning that other options, scripts, a launcher or transformers set."""

NOTES: dict[str, str] = {
    "num_generations": "Means the most actions of a state (3SPO) or the episodes of a task.",
    "reward_weights": "Weighs the trainer's `reward_funcs`, which reward answers by their text.",
    "num_generations_eval": "Means episodes of every task in an evaluation; 1 by default.",
    "per_device_train_batch_size": "Counts sampled actions (3SPO) or episodes; see each method's configuration.",
    "per_device_eval_batch_size": "Episodes that are played together.",
    "num_train_epochs": "An epoch has as many steps as GRPO would make over the training tasks; set max_steps.",
    "metric_for_best_model": "An evaluation's, such as `success_rate`; `loss` is refused, there is none.",
    "load_best_model_at_end": "By `eval_success_rate`, of named panels the first's, where no metric is set.",
    "bf16": "Refused where nothing computes in it, such as on a CPU.",
    "fp16": "Refused on a CPU, where it would do nothing.",
    "mask_truncated_completions": "If all of a batch were cut off, a warning says that nothing is left to train on.",
    "log_completions": "What a terminal would obey is escaped in prompts and completions.",
    "generation_kwargs": "What changes the tokens' proportions is refused, what cuts some off is warned of: see above.",
    **dict.fromkeys(TRUNCATING, "Warned of at the start, see above."),
    "trust_remote_code": "Executes code of the model's author.",
    "use_transformers_continuous_batching": "Not tried here.",
    "transformers_continuous_batching_config": "Not tried here.",
    "use_transformers_paged": "TRL's former name of `use_transformers_continuous_batching`.",
    "vllm_importance_sampling_cap": "TRL's former name of `vllm_importance_sampling_clip_max`.",
    "vllm_mode": "`server` needs a CUDA device.",
    "neftune_noise_alpha": "Not tried here.",
    "use_liger_kernel": "Not tried here.",
    "liger_kernel_config": "Not tried here.",
    "router_aux_loss_coef": "Not tried here.",
    "entropy_coef": "As large as it says with every `loss_type`, however many rows are padding.",
}
"""What is to be known of options that work."""


def status(name: str) -> Status:
    """Return what becomes of an option of GRPOConfig; what is not named here is left to TRL and works."""
    if name in REFUSED:
        return "refused"
    return "no meaning" if name in NO_MEANING else "works"


def note(name: str) -> str:
    """Return what is to be known of an option, or nothing."""
    return REFUSED[name].reason if name in REFUSED else NO_MEANING.get(name) or NOTES.get(name, "")
