"""Files of jobs, on a real file system: below the roots and nowhere else; whole or not at all."""

import contextlib
import os
import stat

import pytest

from services.executor.files import OutsideFilesRoots, create_file, open_directory, open_file


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    return tmp_path / "root"


def listed(directory):
    return sorted(os.listdir(directory))  # noqa: PTH208 - of a descriptor, too


def break_off(file):
    file.write(b"half")
    raise OSError("no room")


def content(path, *roots):
    with os.fdopen(open_file(path, roots)) as file:
        return file.read()


def test_a_file_and_a_directory_below_a_root_are_opened(root):
    assert content(root / "in" / "file", root) == "inside"
    descriptor = open_directory(root / "in", (root,))
    assert listed(descriptor) == ["file"]
    os.close(descriptor)


def test_a_root_may_itself_be_a_link_of_the_operators(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert content(tmp_path / "link" / "in" / "file", tmp_path / "link") == "inside"


@pytest.mark.parametrize("way", ["outside/precious", "root/../outside/precious", "root2/a", "root"])
def test_what_lies_outside_is_not_opened(root, tmp_path, way):
    with pytest.raises(OutsideFilesRoots):
        open_file(tmp_path / way, (root,))
    with pytest.raises(OutsideFilesRoots), create_file(tmp_path / way, (root,)):
        pass


def test_without_roots_nothing_is_opened(root):
    with pytest.raises(OutsideFilesRoots):
        open_file(root / "in" / "file", ())


@pytest.mark.parametrize("to", ["../outside", "in"])
def test_no_link_on_the_way_is_followed(root, to):
    (root / "link").symlink_to(to)
    with pytest.raises(OutsideFilesRoots, match=r"'link' in .* is a symbolic link"):
        open_file(root / "link" / "precious", (root,))
    with pytest.raises(OutsideFilesRoots, match="symbolic link"), create_file(root / "link" / "a", (root,)):
        pass


def test_no_link_at_the_end_is_followed_and_one_in_the_way_of_a_new_file_is_replaced(root, tmp_path):
    precious = tmp_path / "outside" / "precious"
    (root / "link").symlink_to(precious)
    with pytest.raises(OutsideFilesRoots, match="symbolic link"):
        open_file(root / "link", (root,))
    with create_file(root / "link", (root,)) as file:
        file.write(b"new")
    assert precious.read_text() == "precious"
    assert not (root / "link").is_symlink()
    assert (root / "link").read_bytes() == b"new"


def test_only_regular_files_are_opened_and_a_pipe_keeps_nobody_waiting(root):
    os.mkfifo(root / "pipe")
    for name in ("pipe", "in"):
        with pytest.raises(OutsideFilesRoots, match="is not a regular file"):
            open_file(root / name, (root,))


def test_a_file_that_isnt_there_is_said_so(root):
    with pytest.raises(FileNotFoundError):
        open_file(root / "no" / "file", (root,))
    with pytest.raises(NotADirectoryError):
        open_file(root / "in" / "file" / "below", (root,))


def test_a_new_file_takes_its_name_when_it_is_whole(root):
    with create_file(root / "in" / "file", (root,)) as file:
        file.write(b"first half, ")
        assert (root / "in" / "file").read_text() == "inside"
        file.write(b"second half")
        file.seek(0)
        assert file.read(5) == b"first"
    assert (root / "in" / "file").read_text() == "first half, second half"
    assert listed(root / "in") == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(root):
    with pytest.raises(OSError, match="no room"), create_file(root / "in" / "file", (root,)) as file:
        break_off(file)
    assert (root / "in" / "file").read_text() == "inside"
    assert listed(root / "in") == ["file"]


def test_missing_directories_of_a_new_file_are_made(root):
    with create_file(root / "a" / "b" / "c.csv", (root,)) as file:
        file.write(b"x")
    assert (root / "a" / "b" / "c.csv").read_bytes() == b"x"


def test_a_new_file_where_a_directory_stands_is_refused_and_leaves_nothing(root):
    with pytest.raises(OSError, match="directory"), create_file(root / "in", (root,)):
        pass
    assert listed(root) == ["in"]


def test_a_new_file_has_the_permissions_of_any_other(root):
    before = os.umask(0o027)
    try:
        with create_file(root / "a", (root,)):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640


def test_no_descriptor_is_left_open(root):
    (root / "link").symlink_to("in")
    before = listed("/proc/self/fd")
    for way in ("in/file", "link/a", "no/a", "in", "link"):
        with contextlib.suppress(OSError):
            os.close(open_file(root / way, (root,)))
    with create_file(root / "a", (root,)):
        pass
    with pytest.raises(OSError, match="no room"), create_file(root / "a", (root,)) as file:
        break_off(file)
    assert listed("/proc/self/fd") == before
