"""What a disk says of the file system that it is on."""

from pathlib import Path

from headrace.appliance.adapters.disk import Disk


def test_folders_on_one_file_system_say_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    here, beside, elsewhere = (Disk(path).room().filesystem for path in (tmp_path / "a", tmp_path / "b", Path("/proc")))
    assert here == beside != ""
    assert elsewhere != here
