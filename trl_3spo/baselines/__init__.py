"""GRPO, GiGPO and StepPO over whole episodes, to compare 3SPO with."""
