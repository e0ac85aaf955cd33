"""A catalog that is lost, mistaken or begun anew never costs what another one wrote."""

import shutil
from pathlib import Path

from tests.cycle.world import World, numbered


def test_another_catalog_refuses_to_begin_and_removes_nothing(world: World) -> None:
    world.fed("orders", numbered("a"))
    world.commit("orders")
    world.commit("orders", numbered("b"))
    files = {name for name in world.files() if not name.startswith(".differ/catalog")}
    events = list(world.project.events("orders"))
    world.settings["storage"] = {"catalog": "sqlite:///.differ/catlog.db"}
    world.close()
    result = world.scan("orders")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "holds 2 cycles of stream" in (result.error or "")
    assert "storage.catalog" in (result.hint or "")
    assert world.scan("orders", dry_run=True).status == "failed"
    assert [finding.part for finding in world.project.check()] == ["catalog"]
    assert world.project.gc() == 0
    assert files <= world.files()
    del world.settings["storage"]
    world.close()
    assert world.project.check(read_data=True) == []
    assert list(world.project.events("orders")) == events


def test_beginning_anew_is_to_move_the_folder_away(world: World, tmp_path: Path) -> None:
    world.fed("orders", numbered("a"))
    world.commit("orders")
    world.close()
    (world.folder / ".differ" / "catalog.db").unlink()
    assert world.scan("orders").status == "failed"
    shutil.move(world.folder / "snapshots" / "orders", tmp_path / "before")
    assert world.scan("orders").status == "committed"
    world.verify("orders")
