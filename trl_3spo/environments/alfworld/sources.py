"""Where the games of an `AlfworldEnv` come from: files, the released splits, or the generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_3spo.environments.alfworld.data import files, release
from trl_3spo.environments.alfworld.data.files import GameSource

GivenGames = Sequence[str | Path | Mapping[str, Any]]
"""Paths of game files or of their folders, or contents of game files."""


def check_source(generator_options: Mapping[str, Any], **sources: object) -> None:
    """Check that exactly one source of games is given, and options of the generator only with it.

    Args:
        generator_options: Options of the generator.
        sources: Values of `games`, `split` and `generated`.

    Raises:
        TypeError: There is no such option of the environment.
        ValueError: None of the sources is given, or more than one.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"AlfworldEnv was given {' and '.join(given) or 'no games'}; exactly one of games=[paths or contents], "
            "split='valid_unseen' (downloaded) and generated=500 (nothing to download) is required."
        )
    if generator_options and "generated" not in given:
        raise TypeError(f"AlfworldEnv knows {', '.join(generator_options)} only together with generated=….")


def find_sources(
    games: GivenGames | None, split: str | None, generated: int | None, seed: int, generator_options: Mapping[str, Any]
) -> Sequence[GameSource]:
    """Return the games of the one source that is given; see `AlfworldEnv`.

    Raises:
        FileNotFoundError: A file or split is missing.
        TypeError: There is no such option of the generator.
        ValueError: A source has no games, or an option is out of its range.
    """
    if split is not None:
        return release.find_games(split)
    if generated is not None:
        return _generate(generated, seed, generator_options)
    return _given(games or ())


def _generate(count: int, seed: int, options: Mapping[str, Any]) -> list[GameSource]:
    # Imported here: playing released games needs no generator.
    from trl_3spo.environments.alfworld.generation.generator import generate_games

    games = generate_games(count, seed, **options)
    # Named by content: equal games of other calls have equal names, and a panel's hash tells what was played.
    return [files.source_from_data(game, f"generated/{game['id']}") for game in games]


def _given(games: GivenGames) -> list[GameSource]:
    if isinstance(games, (str, Path, Mapping)) or not games:
        raise ValueError(f"games is {str(games)[:80]!r}; a list of paths or contents of game files is required.")
    sources, problems = files.leave_out_duplicates([_source(game, i) for i, game in enumerate(games)])
    files.warn_of(problems, len(games))
    return sources


def _source(game: str | Path | Mapping[str, Any], index: int) -> GameSource:
    if isinstance(game, (str, Path)):
        return files.source_from_path(game)
    return files.source_from_data(game, f"game/{index}")
