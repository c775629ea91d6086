"""Every damage of a data root that is known, each done to a small healthy one: it returns code and subject of what must be found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from tests.docker_store.build import Small, Store, build_id, digest, short_name

Found = set[tuple[str, str]]
Damage = Callable[[Small], Found]


def no_record(store: Small) -> Found:
    store.directory(digest("lost"))
    store.directory(f"{digest('failed')}-init", store.place(store.top).name)
    store.directory(build_id("lost"))
    return {("unaccounted-layer", name) for name in (digest("lost"), f"{digest('failed')}-init", build_id("lost"))}


def unreached(store: Small) -> Found:
    chain = store.layer("finished", store.layer("also finished"))
    return {("unreferenced-layer", chain), ("unreferenced-layer", store.layer("also finished"))}


def write_set(store: Small) -> Found:
    (store.layerdb / "tmp/write-set-1").mkdir()
    (store.layerdb / "tmp/write-set-1/tar-split.json.gz").touch()
    return {("leftover-tempdir", "write-set-1")}


def write_set_with_a_layer(store: Small) -> Found:
    store.directory(digest("half"))
    (store.layerdb / "tmp/write-set-2").mkdir()
    (store.layerdb / "tmp/write-set-2/cache-id").write_text(digest("half"))
    return {("incomplete-layer", "write-set-2")}


def removing(store: Small) -> Found:
    chain = store.layer("gone", store.base)
    name = f"{chain.removeprefix('sha256:')}-{digest('random')}-removing"
    store.record(chain).rename(store.layerdb / "sha256" / name)
    shutil.rmtree(store.place(chain) / "work")
    (store.place(chain) / "link").unlink()
    (store.overlay / "l" / short_name(store.place(chain).name)).unlink()
    return {("interrupted-removal", name)}


def removing_and_pulled_again(store: Small) -> Found:
    ((code, name),) = removing(store)
    again = Store(store.root.parent / "again")
    chain = again.layer("gone", again.layer("base"))
    store.directory(digest("second"), store.place(store.base).name)
    shutil.copytree(again.record(chain), store.record(chain))
    (store.record(chain) / "cache-id").write_text(digest("second"))
    store.image("lab/again:1", "base", "gone")
    return {(code, name)}


def dead(store: Small) -> Found:
    container = store.container("c2", store.app, store.top, State={"Dead": True, "RemovalInProgress": True})
    writable = store.overlay / digest(f"mount {container}")
    for name in ("link", "lower"):
        (writable / name).unlink()
    shutil.rmtree(writable / "work")
    (store.overlay / "l" / short_name(writable.name)).unlink()
    return {("interrupted-removal", container)}


def dead_without_layers(store: Small) -> Found:
    container = store.container("c3", store.app, store.top, State={"Dead": True})
    for place in (digest(f"mount {container}"), f"{digest(f'mount {container}')}-init"):
        shutil.rmtree(store.overlay / place)
        (store.overlay / "l" / short_name(place)).unlink()
    shutil.rmtree(store.layerdb / "mounts" / container)
    return {("interrupted-removal", container)}


def ghost(store: Small) -> Found:
    store.forget(store.c1)
    return {("ghost-reference", store.c1)}


def ghost_of_a_build(store: Small) -> Found:
    store.mount(build_id("view"), store.top)
    return {("ghost-reference", build_id("view"))}


def ghost_with_its_directory(store: Small) -> Found:
    (store.root / "containers" / store.c1 / "config.v2.json").unlink()
    return {("ghost-reference", store.c1)}


def temporary(store: Small) -> Found:
    (store.root / "tmp/docker-import-123").mkdir()
    (store.root / "tmp/GetImageBlob99").write_bytes(b"x" * 100)
    return {("leftover-tempdir", "docker-import-123"), ("leftover-tempdir", "GetImageBlob99")}


def directory_gone(store: Small) -> Found:
    shutil.rmtree(store.place(store.middle))
    return {("layer-missing", store.middle)}


def writable_gone(store: Small) -> Found:
    shutil.rmtree(store.overlay / store.writable)
    return {("layer-missing", store.writable)}


def record_gone(store: Small) -> Found:
    shutil.rmtree(store.record(store.middle))
    return {("parent-missing", store.top), ("parent-missing", store.another)}


def top_record_gone(store: Small) -> Found:
    shutil.rmtree(store.record(store.another))
    return {("image-layer-missing", store.other)}


def mount_gone(store: Small) -> Found:
    shutil.rmtree(store.layerdb / "mounts" / store.c1)
    return {
        ("container-layer-missing", store.c1),
        ("unaccounted-layer", store.writable),
        ("unaccounted-layer", f"{store.writable}-init"),
    }


def image_gone(store: Small) -> Found:
    digits = store.app.removeprefix("sha256:")
    (store.imagedb / "content/sha256" / digits).unlink()
    return {("image-data-missing", store.app), ("container-image-missing", store.c1), ("metadata-leftover", store.app)}


def image_changed(store: Small) -> Found:
    (store.imagedb / "content/sha256" / store.other.removeprefix("sha256:")).write_text('{"rootfs": {}}')
    return {("image-data-modified", store.other)}


def names_gone(store: Small) -> Found:
    (store.root / "image/overlay2/repositories.json").unlink()
    return {("metadata-unreadable", "image/overlay2/repositories.json")}


def names_cut(store: Small) -> Found:
    os.truncate(store.root / "image/overlay2/repositories.json", 40)
    return {("metadata-unreadable", "image/overlay2/repositories.json")}


def untagged(store: Small) -> Found:
    image = store.image(None, "base", "dangling")
    return {("untagged-image", image)}


def cache_id_empty(store: Small) -> Found:
    (store.record(store.middle) / "cache-id").write_bytes(b"")
    return {("metadata-unreadable", str(store.record(store.middle).relative_to(store.root) / "cache-id"))}


def cache_id_of_a_top_empty(store: Small) -> Found:
    (store.record(store.another) / "cache-id").write_bytes(b"")
    return {("metadata-unreadable", str(store.record(store.another).relative_to(store.root) / "cache-id"))}


def cache_id_gone(store: Small) -> Found:
    (store.record(store.base) / "cache-id").unlink()
    return {("metadata-unreadable", str(store.record(store.base).relative_to(store.root) / "cache-id"))}


def mount_id_malformed(store: Small) -> Found:
    path = store.layerdb / "mounts" / store.c1 / "mount-id"
    path.write_text("../../../etc")
    return {("metadata-unreadable", str(path.relative_to(store.root)))}


def configuration_garbage(store: Small) -> Found:
    path = store.root / "containers" / store.c1 / "config.v2.json"
    path.write_text("{")
    return {("metadata-unreadable", str(path.relative_to(store.root)))}


def layerdb_gone(store: Small) -> Found:
    shutil.rmtree(store.layerdb)
    return {("metadata-unreadable", "image/overlay2/layerdb/mounts"), ("metadata-unreadable", "image/overlay2/layerdb/sha256")}


def empty_entry(store: Small) -> Found:
    (store.layerdb / "sha256" / digest("empty")).mkdir()
    return {("metadata-leftover", f"sha256:{digest('empty')}")}


def empty_mount(store: Small) -> Found:
    (store.layerdb / "mounts" / digest("empty")).mkdir()
    return {("metadata-leftover", digest("empty"))}


def container_directory(store: Small) -> Found:
    (store.root / "containers" / digest("left")).mkdir()
    return {("metadata-leftover", digest("left"))}


def tar_split(store: Small) -> Found:
    (store.record(store.top) / "tar-split.json.gz").unlink()
    return {("layer-data-missing", store.top)}


def work(store: Small) -> Found:
    (store.overlay / store.writable / "work").rmdir()
    return {("layer-data-missing", store.writable)}


def link_gone(store: Small) -> Found:
    (store.overlay / "l" / short_name(store.place(store.base).name)).unlink()
    return {("short-link-missing", store.base)}


def links_gone(store: Small) -> Found:
    shutil.rmtree(store.overlay / "l")
    layers = (store.base, store.middle, store.top, store.another, store.writable, f"{store.writable}-init", store.source, build_id("step"))
    return {("short-link-missing", layer) for layer in layers}


def link_dangling(store: Small) -> Found:
    (store.overlay / "l" / ("A" * 26)).symlink_to(f"../{digest('never made')}/diff")
    return {("short-link-dangling", "A" * 26)}


def link_twice(store: Small) -> Found:
    (store.overlay / "l" / ("A" * 26)).symlink_to(f"../{store.place(store.base).name}/diff")
    return {("short-link-duplicate", store.base)}


def link_odd(store: Small) -> Found:
    (store.overlay / "l" / ("A" * 26)).symlink_to("/etc")
    return {("short-link-malformed", "A" * 26)}


def link_file_gone(store: Small) -> Found:
    (store.place(store.middle) / "link").unlink()
    return {("link-file-missing", store.middle)}


def link_file_empty(store: Small) -> Found:
    (store.place(store.middle) / "link").write_bytes(b"")
    return {("link-file-empty", store.middle)}


def link_to_the_wrong_layer(store: Small) -> Found:
    link = store.overlay / "l" / short_name(store.place(store.top).name)
    link.unlink()
    link.symlink_to(f"../{store.place(store.base).name}/diff")
    return {("overlapping-layers", store.top)}


def lower_gone(store: Small) -> Found:
    (store.place(store.top) / "lower").unlink()
    return {("lower-missing", store.top)}


def lower_empty(store: Small) -> Found:
    (store.overlay / store.writable / "lower").write_bytes(b"")
    return {("lower-empty", store.writable)}


def lower_bare(store: Small) -> Found:
    lower = store.overlay / store.writable / "lower"
    lower.write_text(lower.read_text().split(":")[0] + ":l")
    return {("lower-malformed", store.writable)}


def lower_short(store: Small) -> Found:
    lower = store.place(store.top) / "lower"
    lower.write_text(lower.read_text().split(":")[0])
    return {("lower-mismatch", store.top)}


def lower_twice(store: Small) -> Found:
    lower = store.place(store.top) / "lower"
    first = lower.read_text().split(":")[0]
    lower.write_text(f"{first}:{first}")
    return {("overlapping-layers", store.top)}


def cache_nobody_holds(store: Small) -> Found:
    key = build_id("forgotten")
    store.snapshot(key, held=False)
    return {("unreferenced-layer", key)}


def cache_that_is_garbage(store: Small) -> Found:
    (store.root / "buildkit/snapshots.db").write_bytes(b"x" * 20000)
    return {("metadata-unreadable", "buildkit/snapshots.db")}


def leases_that_are_garbage(store: Small) -> Found:
    (store.root / "buildkit/containerdmeta.db").write_bytes(b"x" * 20000)
    return {("metadata-unreadable", "buildkit/containerdmeta.db")}


DAMAGES: list[Damage] = [
    no_record,
    unreached,
    write_set,
    write_set_with_a_layer,
    removing,
    removing_and_pulled_again,
    dead,
    dead_without_layers,
    ghost,
    ghost_of_a_build,
    ghost_with_its_directory,
    temporary,
    directory_gone,
    writable_gone,
    record_gone,
    top_record_gone,
    mount_gone,
    image_gone,
    image_changed,
    names_gone,
    names_cut,
    untagged,
    cache_id_empty,
    cache_id_of_a_top_empty,
    cache_id_gone,
    mount_id_malformed,
    configuration_garbage,
    layerdb_gone,
    empty_entry,
    empty_mount,
    container_directory,
    tar_split,
    work,
    link_gone,
    links_gone,
    link_dangling,
    link_twice,
    link_odd,
    link_file_gone,
    link_file_empty,
    link_to_the_wrong_layer,
    lower_gone,
    lower_empty,
    lower_bare,
    lower_short,
    lower_twice,
    cache_nobody_holds,
    cache_that_is_garbage,
    leases_that_are_garbage,
]
