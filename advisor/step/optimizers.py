"""The optimizers that transformers knows by name, and which of them are there."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from bitsandbytes.optim import GlobalOptimManager
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from advisor.errors import AdvisorError, unknown_name


def forget_earlier_weights() -> None:
    """Have bitsandbytes forget which weights of earlier models in this process keep 32-bit states.

    Its manager knows them by their place among the weights that learn, and keeps their modules alive: what has the same place
    in a later model would get 32-bit states, too.
    """
    GlobalOptimManager.get_instance().initialize()


def check_optimizer(name: str) -> None:
    """Refuse what transformers does not know, and what needs a package that is not installed.

    Raises: AdvisorError naming the nearest names, or the package.
    """
    known = [each.value for each in OptimizerNames]
    if name not in known:
        raise unknown_name("optimizer", name, known, fix="use one of transformers' names for `optim`")
    try:
        optimizer_class(name)
    except (ImportError, ValueError) as error:
        if not _is_of_a_package(error):
            return  # some ask for the model, or for options: the trainer has them
        raise AdvisorError(
            f"The optimizer {name} is not installed.",
            why=" ".join(str(error).split()),
            fix="install it, or use one that comes with torch or bitsandbytes, such as adamw_8bit",
        ) from error


def optimizer_class(name: str, model: Any = None) -> tuple[Any, dict[str, Any]]:
    """The class behind the name, and the options that transformers gives it."""
    # Not made by calling it: that sets up a device for the whole process.
    defaults = {f.name: f.default for f in fields(TrainingArguments)}
    arguments: Any = SimpleNamespace(**defaults | {"optim": OptimizerNames(name)})
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    return kind, options


def _is_of_a_package(error: Exception) -> bool:
    return isinstance(error, ImportError) or "install" in str(error) or "import" in str(error)
