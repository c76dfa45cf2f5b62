"""The digest over files is of what they are, not of where they lie."""

from bench.files import files_sha256


def test_files_sha256_is_of_names_bytes_and_order_not_of_the_place(tmp_path):
    contents = {"a/x": "1", "a/y": "2", "b/x": "1", "b/y": "2", "c/x": "1", "c/z": "2"}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    def digest(*names, root=None):
        return files_sha256([tmp_path / name for name in names], root)

    same = digest("a/x", "a/y")
    assert digest("b/x", "b/y") == same
    assert digest("a/x", "a/y", root=tmp_path / "a") == same
    (tmp_path / "b" / "y").write_text("other")
    others = [
        digest("c/x", "c/z"),
        digest("a/y", "a/x"),
        digest("b/x", "b/y"),
        digest("a/x", "a/y", root=tmp_path),
    ]
    assert len({same, *others}) == 5
