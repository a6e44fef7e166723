from headrace.fleet.model import DiskReport, distinct_disks


def disk(folder, filesystem="", *, is_ok=True):
    return DiskReport(folder=folder, is_ok=is_ok, total_bytes=100, free_bytes=40, filesystem=filesystem)


def test_each_file_system_counts_once():
    names = [one.folder for one in distinct_disks((disk("/a", "8"), disk("/b", "9"), disk("/c", "8")))]
    assert sorted(names) in (["/a", "/b"], ["/b", "/c"])


def test_folders_of_unknown_file_systems_each_count():
    assert len(distinct_disks((disk("/a"), disk("/b")))) == 2


def test_what_has_failed_does_not_count_and_hides_no_other():
    assert distinct_disks((disk("/a", "8"), disk("/b", "8", is_ok=False))) == (disk("/a", "8"),)
    assert distinct_disks((disk("/b", is_ok=False),)) == ()
