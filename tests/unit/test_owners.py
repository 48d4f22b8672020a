import copy

from relay.owners import Owners


def test_no_name_comes_twice() -> None:
    one, other = Owners(), Owners()
    names = [each() for _ in range(1000) for each in (one, other)]
    assert len(set(names)) == 2000


def test_processes_of_one_snapshot_have_names_of_their_own() -> None:
    one = Owners()
    other = copy.deepcopy(one)
    assert one() != other()
