"""textworld in a process of its own: plays given actions in given games and returns the reference engine's answers.

`textworld_engine` starts it as a script. A line on standard input is a request, `[path, actions]`. The actions are
taken from the start of the game in that file. The answer is one line about the state that follows: `text`, `commands`,
`won` and `facts`, the arguments of all true facts by predicate. If something is wrong, the answer is `error`.

textworld changes `sys.argv` and `sys.stdout` as it loads a game, and never frees all its memory. It must not be used
from threads. It therefore runs in its own process. This script imports nothing of this package, so it can start without
it.
"""

import json
import sys
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
from fast_downward import Operator
from textworld.envs.pddl import PddlEnv

MAX_GAMES = 64
"""Games kept loaded, 8 MB each. Loading another one takes the place of the one that was asked for longest ago."""

MAX_MOMENTS = 1000
"""States kept of each game, some kilobytes each. One that was dropped is reached again from the last one on its way."""


class Moment(NamedTuple):
    """A state of a game, with the data to go back to it.

    Args:
        text: Answer of textworld in this state.
        is_won: Whether the goal holds.
        state_id: The state's number in the planner, which never forgets one.
        facts: Facts by signature, if they differ from the start.
        operators: Numbers of the planner's possible actions here.
        actions: Numbers of the player's possible actions; textworld drops some that have equal names.
    """

    text: str
    is_won: bool
    state_id: int
    facts: dict[Any, frozenset[Any]]
    operators: tuple[int, ...]
    actions: tuple[int, ...]


class ReferenceGame:
    """One game in textworld, at any number of moments."""

    def __init__(self) -> None:
        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        self._env = AlfredDemangler(PddlEnv(infos))

    def load(self, path: str) -> None:
        """Load a game in place of the present one, whose moments are void from then on."""
        self._way: tuple[str, ...] = ()
        self._moments: dict[tuple[str, ...], Moment] = {}
        # States have much in common, and there are many: what they consist of is kept once.
        self._num_effects: dict[int, int] = {}
        self._actions: dict[int, Any] = {}
        self._commands: dict[int, str] = {}
        self._fact_sets: dict[frozenset[Any], frozenset[Any]] = {}
        self._env.load(path)
        state = self._env.reset()
        self._start = {signature: frozenset(facts) for signature, facts in self._pddl_state._facts.items()}
        self._save(state)

    @property
    def _pddl_state(self) -> Any:
        return self._env.unwrapped._pddl_state

    def tell(self, way: tuple[str, ...]) -> dict[str, Any]:
        """Return what there is to say of the state that a way leads to."""
        self._reach(way)
        moment = self._moments[way]
        facts: dict[str, list[list[str]]] = defaultdict(list)
        for signature, atoms in {**self._start, **moment.facts}.items():
            facts[signature.name] += [[variable.name for variable in atom.arguments] for atom in atoms]
        commands = [self._commands[number] for number in moment.actions]
        return {"text": moment.text, "commands": commands, "won": moment.is_won, "facts": facts}

    def _reach(self, way: tuple[str, ...]) -> None:
        """Go a way from the last moment on it that is kept."""
        num_known = len(way)
        while way[:num_known] not in self._moments:
            num_known -= 1
        if num_known == len(way):
            return
        self.restore(way[:num_known])
        for i in range(num_known, len(way)):
            state, _, _ = self._env.step(way[i])
            self._way = way[: i + 1]
            self._save(state)

    def _save(self, state: Any) -> None:
        """Keep the present moment."""
        if len(self._moments) >= MAX_MOMENTS:
            del self._moments[next(way for way in self._moments if way)]
        pddl_state = self._pddl_state
        # Of an operator textworld needs no more to apply it; the object itself would keep all its neighbours in memory.
        self._num_effects |= {number: op.nb_effect_atoms for number, op in pddl_state._operators.items()}
        numbers = tuple(action.id for action in state["_valid_actions"])
        self._actions |= zip(numbers, state["_valid_actions"], strict=True)
        self._commands |= zip(numbers, state["_valid_commands"], strict=True)
        changed = {
            signature: self._fact_sets.setdefault(frozenset(facts), frozenset(facts))
            for signature, facts in pddl_state._facts.items()
            if facts != self._start.get(signature)
        }
        self._moments[self._way] = Moment(
            text=state["feedback"],
            is_won=state["won"],
            state_id=pddl_state.downward_lib.get_state_id(),
            facts=changed,
            operators=tuple(pddl_state._operators),
            actions=numbers,
        )

    def restore(self, way: tuple[str, ...]) -> None:
        """Go back to a moment: the planner's state, textworld's own copy of the facts, and what is admissible."""
        moment, pddl_state = self._moments[way], self._pddl_state
        facts = {**self._start, **moment.facts}
        pddl_state.downward_lib.set_state_id(moment.state_id)
        pddl_state._facts = defaultdict(set, {signature: set(atoms) for signature, atoms in facts.items()})
        pddl_state._operators = {
            number: Operator(id=number, nb_effect_atoms=self._num_effects[number]) for number in moment.operators
        }
        self._env.unwrapped.state = textworld.GameState(
            _valid_actions=[self._actions[number] for number in moment.actions],
            _valid_commands=[self._commands[number] for number in moment.actions],
        )


def answer(games: OrderedDict[str, ReferenceGame], path: str, actions: list[str]) -> dict[str, Any]:
    """Answer a request, loading the game if need be."""
    if path not in games:
        # textworld leaks when a game is closed, so a game that is no longer needed makes room for another.
        game = games.popitem(last=False)[1] if len(games) >= MAX_GAMES else ReferenceGame()
        game.load(path)
        games[path] = game
    games.move_to_end(path)
    return games[path].tell(tuple(actions))


def main() -> None:
    """Answer requests until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what textworld prints must not get among the answers
    games: OrderedDict[str, ReferenceGame] = OrderedDict()
    for line in sys.stdin:
        path, actions = json.loads(line)
        try:
            reply = answer(games, path, actions)
        except (Exception, SystemExit) as error:  # the planner's reader exits where it does not understand a game
            games.pop(path, None)
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
