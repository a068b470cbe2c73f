"""What is printed of files."""

import io

from evonas.track.console import print_table, printable


def test_text_of_files_does_not_control_the_terminal() -> None:
    assert printable("mIoU \N{UPWARDS ARROW} 0.5 \u00e4") == "mIoU \N{UPWARDS ARROW} 0.5 \u00e4"
    assert printable("a\x1b]0;gone\x07b\nc\x9bd\u202e") == "a?]0;gone?b?c?d?"
    assert len(printable("x" * 10**6)) < 3000
    out = io.StringIO()
    print_table("", ["run", "state"], [["\x1b[2Jrun", "done\r\n"]], out)
    assert "\x1b" not in out.getvalue() and "\r" not in out.getvalue() and "?[2Jrun" in out.getvalue()
