"""The script for pages: how small it is, and that making it small keeps to what it may touch."""

from jobs.collect import tracker


def test_the_script_is_at_most_two_kilobytes():
    assert len(tracker.minified(tracker.SOURCE.read_text()).encode()) <= 2048


def test_comments_and_blanks_go_and_each_local_name_becomes_letter():
    source = (
        '// what it does\n(_ => {\n\tlet _name = 1, _other = {item_id: _name};\n\treturn "a b" + _other.x_y;\n})();'
    )
    assert tracker.minified(source) == '(a=>{let b=1,c={item_id:b};return "a b"+c.x_y})();'
