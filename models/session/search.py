"""Search for a recipe with Optuna: the one whose training ends with the best value on the choosing part."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from models.session import losses

if TYPE_CHECKING:
    import optuna

    from models.session.recipe import Recipe

SEARCHED = ("learning_rate", "dropout", "alpha", "loss")


def best_recipe(
    recipe: "Recipe",
    values_of: Callable[["Recipe"], Iterator[float]],
    study: str,
    folder: Path,
    *,
    trials: int,
    minutes: float,
    seed: int,
    tell: Callable[[str], None],
) -> "Recipe":
    """Return the best of `trials` recipes, `recipe` itself among them.

    A trial that falls behind the median ends early. Trials are stored in `folder`/trials.db under the name `study`, and
    a search that was interrupted goes on there.

    Args:
        values_of: trains with a recipe and yields its value after each epoch.
    """
    from optuna import TrialPruned  # a second to import, and only a search needs it

    search = _study(study, folder, seed)
    if not search.trials:
        search.enqueue_trial({name: getattr(recipe, name) for name in SEARCHED} | {"penalty": recipe.penalty})

    def value_of(trial: "optuna.Trial") -> float:
        value = 0.0
        for epoch, value in enumerate(values_of(_suggestion(recipe, trial))):
            trial.report(value, epoch)
            if trial.should_prune():
                raise TrialPruned
        tell(f"trial {trial.number}: MRR@20 {value:.4f} with {trial.params}")
        return value

    search.optimize(value_of, n_trials=trials, timeout=minutes * 60)
    finished = [trial for trial in search.trials if trial.value is not None]
    return recipe._replace(**search.best_params) if finished else recipe


def _study(name: str, folder: Path, seed: int) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{(folder / 'trials.db').resolve()}",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
    )


def _suggestion(recipe: "Recipe", trial: "optuna.Trial") -> "Recipe":
    own = recipe._replace(
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.6),
        alpha=trial.suggest_float("alpha", 0.0, 1.0),
        loss=trial.suggest_categorical("loss", losses.NAMES),
    )
    return own if own.loss != "bpr_max" else own._replace(penalty=trial.suggest_float("penalty", 1e-4, 1.0, log=True))
