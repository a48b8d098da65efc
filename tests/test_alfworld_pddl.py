import pytest

from trl_3spo.environments.alfworld.simulator.pddl import read_expression, read_problem, read_typed_list
from trl_3spo.environments.alfworld.simulator.rules import Rules, read_rules

PROBLEM = """
(define (problem p) (:domain alfred)
  (:objects agent1 - agent Cup_bar_1 Cup_bar_2 - object loose)
  (:init (= (total-cost) 0) (atLocation agent1 L1) ; a comment (with a bracket
         (isClean Cup_bar_1) (isClean Cup_bar_2))
  (:goal (and (isClean Cup_bar_1))))
"""
DOMAIN = """
(define (domain alfred)
  (:action CleanObject :precondition (and (or {sinks}) (holds ?a ?o)) :effect (isClean ?o))
  (:action examineObject :precondition (or (exists ({scope}) (inReceptacle ?o ?r)) (holds ?a ?o)) :effect ()))
"""
MEANT, SHIPPED = "?l - location ?r - receptacle", "?l - location, ?r - receptacle"


def test_expression_is_lower_case_and_without_comments() -> None:
    assert read_expression("(A (b C) ; (d\n e)") == ["a", ["b", "c"], "e"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("(a (b)", "cut off"), ("(a))", "never opened"), ("a b", "no parenthesised"), ("", "no parenthesised")],
)
def test_expression_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_expression(text)


def test_typed_list_gives_the_type_to_all_names_before_the_dash() -> None:
    assert read_typed_list(["a", "b", "-", "t", "c", "-", "u", "d"]) == [
        ("a", "t"),
        ("b", "t"),
        ("c", "u"),
        ("d", "object"),
    ]


@pytest.mark.parametrize("words", [["a", "-"], ["a", "-", ["t"]], [["a"]]])
def test_typed_list_that_is_none(words: list[object]) -> None:
    with pytest.raises(ValueError, match="PDDL list of names"):
        read_typed_list(words)


def test_problem_sections() -> None:
    problem = read_problem(PROBLEM)
    assert problem.types == {"agent1": "agent", "cup_bar_1": "object", "cup_bar_2": "object", "loose": "object"}
    assert problem.facts == {"atlocation": [("agent1", "l1")], "isclean": [("cup_bar_1",), ("cup_bar_2",)]}
    assert problem.goal == ["and", ["isclean", "cup_bar_1"]]


@pytest.mark.parametrize("section", [":objects", ":init", ":goal"])
def test_problem_without_a_section(section: str) -> None:
    with pytest.raises(ValueError, match=f"no section {section}"):
        read_problem(PROBLEM.replace(section, ":other"))


@pytest.mark.parametrize("goal", ["", "word", "(a) (b)"])
def test_problem_with_a_malformed_goal(goal: str) -> None:
    with pytest.raises(ValueError, match=":goal must be one"):
        read_problem(PROBLEM.replace("(and (isClean Cup_bar_1))", goal))


@pytest.mark.parametrize("atom", ["word", "()", "(opened (r))"])
def test_problem_with_a_malformed_fact(atom: str) -> None:
    with pytest.raises(ValueError, match=":init holds"):
        read_problem(PROBLEM.replace("(isClean Cup_bar_2)", atom))


def test_cut_off_problem_is_always_an_error() -> None:
    for end in range(len(PROBLEM.rstrip()) - 1):
        with pytest.raises(ValueError, match="PDDL"):
            read_problem(PROBLEM[:end])


def test_rules_of_the_released_domain_are_the_default() -> None:
    sinks = "(receptacleType ?r SinkType) (receptacleType ?r SinkBasinType)"
    assert read_rules(DOMAIN.format(sinks=sinks, scope=SHIPPED)) == read_rules(None) == Rules()


def test_rules_of_the_packaged_domain() -> None:
    sinks = ";(receptacleType ?r SinkType)\n(receptacleType ?r SinkBasinType)"
    rules = read_rules(DOMAIN.format(sinks=sinks, scope=SHIPPED))
    assert rules.cleaning_types == {"sinkbasintype"}


def test_rules_of_a_domain_without_the_comma() -> None:
    assert read_rules(DOMAIN.format(sinks="(receptacleType ?r SinkType)", scope=MEANT)).examines_contents


@pytest.mark.parametrize("domain", ["(define)", "(define () (:action) (:action (x)) (:action CleanObject))"])
def test_domain_without_the_actions(domain: str) -> None:
    with pytest.raises(ValueError, match=r"no action .*examineobject"):
        read_rules(domain)
