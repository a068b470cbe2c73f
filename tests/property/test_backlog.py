"""Whatever waits is cut into even passes, and nothing is lost or doubled on the way."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from evonas.evaluate.backlog import Backlog, Pass
from evonas.evaluate.engine import Job
from evonas.space.genotype import Genotype

IMAGES = st.sampled_from([None, 4, 8])


def taken(backlog: Backlog, workers: int, limit: int) -> list[Pass]:
    found = []
    while (each := backlog.take(workers, limit)) is not None:
        found.append(each)
    return found


@given(st.lists(IMAGES, max_size=60), st.integers(1, 4), st.integers(1, 9))
def test_passes_are_even_and_whole(images: list[int | None], workers: int, limit: int) -> None:
    backlog = Backlog(order=lambda genotype: str(genotype.genes[0])[::-1])
    jobs = [Job(seq, Genotype("line", (seq,)), images=each) for seq, each in enumerate(images)]
    backlog.add(jobs)
    assert len(backlog) == len(jobs)
    passes = taken(backlog, workers, limit)
    assert Counter(job for each in passes for job in each.jobs) == Counter(jobs)
    for kind in set(images):
        sizes = [len(each.members) for each in passes if each.images == kind]
        assert max(sizes) <= limit and max(sizes) - min(sizes) <= 1
        # nobody is idle while another has two
        assert len(sizes) >= min(workers, sum(sizes))
        assert len(sizes) % workers == 0 or max(sizes) == 1
    assert all({job.images for job in each.jobs} == {each.images} for each in passes)


@given(st.integers(1, 30), st.integers(1, 3), st.integers(2, 8))
def test_what_comes_back_is_taken_again(number: int, workers: int, limit: int) -> None:
    backlog = Backlog()
    backlog.add(Job(seq, Genotype("line", (seq,))) for seq in range(number))
    first = backlog.take(workers, limit)
    assert first is not None
    backlog.put_back(first)
    assert backlog.take(workers, limit) is first
    backlog.split(first.members)
    assert len(backlog) == number
    passes = taken(backlog, workers, limit)
    # whoever lost a worker together is alone afterwards
    assert [each.jobs for each in passes[-len(first.members) :]] == [[job] for job in first.jobs]
    assert sorted(job.seq for each in passes for job in each.jobs) == list(range(number))
