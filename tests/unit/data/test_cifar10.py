"""CIFAR-10 from every published layout and from a download: found, named and cut alike."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data import cifar10, cifar10_layouts
from bench.data.source import Dataset, Split, content_sha256, cut, gather
from tests.clean_environment import CIFAR10_DIR
from tests.unit.data.cifar10_layouts import (
    BINARY,
    LAYOUTS,
    PROVEN,
    PYTHON,
    TEST,
    TRAIN,
    TRAIN_FILE,
    load,
    write_binary_archive,
    write_original_batches,
    write_python_archive,
)
from tests.unit.data.factory import (
    data_config,
    encode,
    moments,
    shuffled,
    write_hugging_face,
    write_parquet,
    write_records,
)

pytestmark = pytest.mark.usefixtures("cifar10_cache")
READERS = ("bench.data.cifar10_decode.decode_image", "bench.data.cifar10_read.tarfile")


def splits_of(data: Dataset) -> list[Split]:
    return [data.train, data.val, data.test]


def check_same(data: Dataset, expected: Dataset) -> None:
    assert data.sha256 == expected.sha256
    for split, expected_split in zip(splits_of(data), splits_of(expected), strict=True):
        assert np.array_equal(split.images, expected_split.images)
        assert np.array_equal(split.labels, expected_split.labels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_dataset(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    data = load(tmp_path / "data")
    pools = gather(TRAIN, TEST)
    expected_splits = cut(pools, val=4)._asdict()
    check_same(data, replace(data, sha256=pools.sha256, **expected_splits))
    assert [len(split.labels) for split in splits_of(data)] == [36, 4, 8]
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64


@pytest.mark.parametrize("layout", PROVEN)
def test_images_that_are_proven_have_the_plain_name(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    assert load(tmp_path / "data").name == "cifar10"


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - set(PROVEN)))
def test_the_name_of_others_says_that_they_are_not_and_which_they_are(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    sha256 = content_sha256(TRAIN, TEST)
    assert load(tmp_path / "data").name == f"cifar10-unverified:{sha256[:12]}"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(sorted(LAYOUTS)), st.permutations(range(40)), st.permutations(range(8)))
def test_row_order_makes_no_difference_in_any_layout(layout, train_rows, test_rows):
    train = TRAIN.take(np.array(train_rows))
    test = TEST.take(np.array(test_rows))
    with TemporaryDirectory() as folder:
        LAYOUTS[layout](Path(folder), train, test)
        assert load(Path(folder)).sha256 == content_sha256(TRAIN, TEST)


def test_shards_make_no_difference(tmp_path):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    other = shuffled(TRAIN, seed=3)
    write_hugging_face(tmp_path / "b", other, shuffled(TEST, seed=4))
    (tmp_path / "b" / TRAIN_FILE).unlink()
    for number, rows in enumerate((slice(25), slice(25, None))):
        shard = other.take(rows)
        path = tmp_path / "b" / f"train-{number:05d}-of-00002.parquet"
        write_parquet(path, [encode(image) for image in shard.images], shard.labels.tolist())
    check_same(load(tmp_path / "a"), load(tmp_path / "b"))


@pytest.mark.parametrize(
    ("below", "write"),
    [
        ("plain_text", write_hugging_face),
        (PYTHON.folder, write_original_batches),
        (BINARY.folder, write_records),
    ],
)
def test_files_may_lie_one_folder_below(tmp_path, monkeypatch, below, write):
    write(tmp_path / "data" / below, TRAIN, TEST)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "data"))
    assert cifar10.load(data_config()).sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize(
    ("packed", "write"), [(PYTHON, write_python_archive), (BINARY, write_binary_archive)]
)
def test_an_archive_may_be_named_itself(tmp_path, monkeypatch, packed, write):
    write(tmp_path, TRAIN, TEST)
    assert load(tmp_path / packed.archive).sha256 == content_sha256(TRAIN, TEST)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / packed.archive))
    assert cifar10.load(data_config()).sha256 == content_sha256(TRAIN, TEST)


def test_the_config_comes_before_the_environment(tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "a", TRAIN, TEST)
    write_hugging_face(tmp_path / "b", TEST, TRAIN)
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / "b"))
    assert load(tmp_path / "a").sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize("first", LAYOUTS)
def test_of_several_layouts_the_one_that_proves_most_is_read(tmp_path, first):
    """Layouts are in the order of preference; the later ones have train and test exchanged."""
    LAYOUTS[first](tmp_path / "data", TRAIN, TEST)
    layouts = list(LAYOUTS)
    for later in layouts[layouts.index(first) + 1 :]:
        LAYOUTS[later](tmp_path / "data", TEST, TRAIN)
    assert load(tmp_path / "data").sha256 == content_sha256(TRAIN, TEST)


@pytest.mark.parametrize(
    ("layout", "reader"),
    [
        ("parquet", "bench.data.cifar10_decode.decode_image"),
        ("python archive", "bench.data.cifar10_read.tarfile"),
    ],
)
def test_second_load_does_not_decode(tmp_path, monkeypatch, layout, reader):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    first = load(tmp_path / "data")
    monkeypatch.setattr(reader, None)
    check_same(load(tmp_path / "data"), first)
    LAYOUTS[layout](tmp_path / "other", TEST, TRAIN)
    with pytest.raises(ValueError, match="'NoneType' object"):
        load(tmp_path / "other")


@pytest.mark.parametrize("layout", PROVEN)
def test_known_md5s_prove_the_original_and_nothing_else_is_read(tmp_path, layout):
    LAYOUTS[layout](tmp_path / "data", TRAIN, TEST)
    published = dict(cifar10_layouts.KNOWN_MD5)
    images = TRAIN.images.copy()
    images[7] ^= 1
    LAYOUTS[layout](tmp_path / "other", Split(images=images, labels=TRAIN.labels), TEST)
    cifar10_layouts.KNOWN_MD5.update(published)
    message = (
        "its md5 is [0-9a-f]{32}, not [0-9a-f]{32} as published, so it was not opened; accepted: "
    )
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "other")
    assert load(tmp_path / "data").name == "cifar10"
    assert load(tmp_path / "data").name == "cifar10"  # from the cache
    for path in (tmp_path / "data").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(ValueError, match=f"{path} is .* its md5 is "):
            load(tmp_path / "data")
        path.write_bytes(path.read_bytes()[:-1])


def test_the_md5_of_whatever_can_run_something_is_known():
    assert {*PYTHON.files, PYTHON.archive, BINARY.archive} == set(cifar10_layouts.KNOWN_MD5)


@pytest.fixture
def network(monkeypatch):
    """Stands in for the mirrors: gives the archive, and counts."""
    calls = []

    def fetch(file, urls, folder):
        calls.append((file, urls))
        write_python_archive(folder, TRAIN, TEST)
        return folder / file.name

    monkeypatch.setattr(cifar10, "fetch", fetch)
    return calls


def test_a_download_is_kept_and_read_again(tmp_path, network):
    config = data_config(download=True, urls=("http://a", "http://b"))
    assert cifar10.downloaded() is None
    first = cifar10.load(config)
    assert first.sha256 == content_sha256(TRAIN, TEST)
    assert network == [(cifar10.ARCHIVE, config.urls)]
    assert cifar10.downloaded() == tmp_path / "cache" / "downloads" / PYTHON.archive
    check_same(cifar10.load(config), first)
    check_same(cifar10.load(data_config(download=False)), first)
    assert len(network) == 1


def test_what_is_fetched_is_the_archive_that_is_proven():
    published_md5 = "c58f30108f718f92721af3b95e74349a"
    assert cifar10.ARCHIVE.md5 == published_md5
    assert cifar10_layouts.KNOWN_MD5[cifar10.ARCHIVE.name] == published_md5
    assert cifar10.ARCHIVE.size_bytes == 170_498_071


@pytest.mark.parametrize("named_by", ["data.dir", "CIFAR10_DIR"])
@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_named_folder_is_never_replaced_by_a_download(
    tmp_path, monkeypatch, network, named_by, name
):
    write_python_archive(tmp_path / "cache" / "downloads", TRAIN, TEST)
    (tmp_path / "empty").mkdir()
    config = data_config(download=True, urls=("http://a",))
    if named_by == "data.dir":
        config = replace(config, dir=str(tmp_path / name))
    else:
        monkeypatch.setenv("CIFAR10_DIR", str(tmp_path / name))
    message = f"{name} .data.dir or CIFAR10_DIR. holds no CIFAR-10: found nothing"
    with pytest.raises(ValueError, match=message):
        cifar10.load(config)
    assert network == []


def test_neither_here_nor_to_be_fetched(tmp_path, monkeypatch):
    def fetch(file, urls, folder):
        raise ValueError("http://a: no route; http://b: HTTP 404")

    monkeypatch.setattr(cifar10, "fetch", fetch)
    ways = (
        r": name its folder or archive in data\.dir or CIFAR10_DIR, "
        r"or a mirror of cifar-10-python\.tar\.gz in data\.urls"
    )
    message = rf"not here \(http://a: no route; http://b: HTTP 404\){ways}"
    with pytest.raises(ValueError, match=message) as failed:
        cifar10.load(data_config(download=True, urls=("http://a", "http://b")))
    assert "\n" not in str(failed.value)
    with pytest.raises(ValueError, match=rf"not here \(data\.download is false\){ways}"):
        cifar10.load(data_config(urls=("http://a",)))
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not CIFAR10_DIR, reason="CIFAR10_DIR is not set")
def test_real_images(monkeypatch):
    data = cifar10.load(data_config(dir=CIFAR10_DIR))
    assert [len(split.labels) for split in splits_of(data)] == [45_000, 5_000, 10_000]
    train_pool_labels = np.concatenate([data.train.labels, data.val.labels])
    assert np.bincount(train_pool_labels).tolist() == [5_000] * 10
    assert np.bincount(data.test.labels).tolist() == [1_000] * 10
    assert data.name in ("cifar10", f"cifar10-unverified:{data.sha256[:12]}")
    mean, std = moments(data.train.images)
    assert np.allclose(mean, data.mean, atol=0.001)
    assert np.allclose(std, data.std, atol=0.003)  # JPEG takes a little of it away
    for reader in READERS:
        monkeypatch.setattr(reader, None)
    check_same(cifar10.load(data_config(dir=CIFAR10_DIR)), data)  # from the cache
