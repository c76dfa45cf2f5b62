"""A table of text: columns that tell nothing are left out, groups open at another first cell."""

from bench.report.table import Entry, make_table, make_turned_table, shown

ENTRIES = [
    Entry(cells={"arm": "a", "empty": None, "seconds": "1.0", "note": ""}),
    Entry(cells={"arm": "a", "empty": "", "seconds": "", "note": ""}, marked=True),
    Entry(cells={"arm": "b", "empty": None, "seconds": "2.0", "note": "late"}),
]


def test_columns_that_tell_nothing_are_left_out():
    table = make_table("times", ENTRIES, words=2, note="in seconds")
    assert table.columns == ["arm", "seconds", "note"]
    assert [row.cells for row in table.rows] == [
        ["a", "1.0", "—"],
        ["a", "—", "—"],
        ["b", "2.0", "late"],
    ]
    assert [row.marked for row in table.rows] == [False, True, False]
    assert table.note == "in seconds"


def test_the_columns_of_words_are_those_of_the_first_that_are_left():
    table = make_table("times", ENTRIES, words=2)
    assert table.words == 1
    assert table.word_columns == ["arm"]
    assert table.figure_columns == ["seconds", "note"]


def test_a_group_opens_where_the_first_cell_changes():
    grouped = make_table("times", ENTRIES, grouped=True)
    assert [row.opens_group for row in grouped.rows] == [False, False, True]
    flat = make_table("times", ENTRIES)
    assert [row.opens_group for row in flat.rows] == [False, False, False]


def test_the_columns_of_a_turned_table_are_its_entries():
    table = make_turned_table("arms", ENTRIES)
    assert table.columns == ["arm", "a", "a", "b"]
    assert [row.cells for row in table.rows] == [
        ["seconds", "1.0", "—", "2.0"],
        ["note", "—", "—", "late"],
    ]
    assert table.words == 4


def test_tables_that_have_nothing_beside_their_first_column_are_not_shown():
    nothing = make_table("empty", [])
    alone = make_table("alone", [Entry(cells={"arm": "a", "empty": None})])
    turned = make_turned_table("turned", [])
    times = make_table("times", ENTRIES)
    assert shown([nothing, alone, turned, times]) == [times]


def test_rows_are_counted_in_words():
    assert make_table("times", ENTRIES).size_label == "3 rows"
    assert make_table("times", ENTRIES[:1]).size_label == "1 row"
