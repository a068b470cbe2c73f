"""Points as braille: where each dot falls."""

from evonas.track.braille import HEIGHT, WIDTH, scatter


def drawn(*args: object, **more: object) -> list[str]:
    """The lines between the two of words, without the axis."""
    return [line[1:] for line in scatter(*args, **more)[1:-2]]  # type: ignore[arg-type]


def test_no_points_draw_nothing() -> None:
    assert scatter([], []) == []


def test_corners_fall_into_corners() -> None:
    lines = drawn([0, 1, 0, 1], [0, 0, 1, 1])
    assert len(lines) == HEIGHT and {len(line) for line in lines} == {WIDTH}
    # dot 1 is the upper left one of its character, 4 the upper right, 7 the lower left, 8 the lower right
    assert lines[0][0] == chr(0x2801) and lines[0][-1] == chr(0x2808)
    assert lines[-1][0] == chr(0x2840) and lines[-1][-1] == chr(0x2880)
    assert set("".join(lines)) == {chr(0x2800), lines[0][0], lines[0][-1], lines[-1][0], lines[-1][-1]}


def test_dots_of_one_character_join() -> None:
    dots = 2 * WIDTH - 1
    lines = drawn([0, 1, dots], [0, 0, 0])
    assert lines[-1][0] == chr(0x28C0)


def test_the_front_is_marked_and_ranges_are_said() -> None:
    lines = scatter([1.0, 2.0], [0.5, 0.25], marked=[1], names=("ms", "error"))
    assert lines[0] == "error 0.25 to 0.5, upwards"
    assert lines[-1].startswith(" ms 1 to 2")
    assert lines[-3][-1] == "*" and sum(line.count("*") for line in lines[1:-1]) == 1


def test_equal_values_need_no_room() -> None:
    assert drawn([3.0, 3.0], [5.0, 5.0])[-1][0] == chr(0x2840)
