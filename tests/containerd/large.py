"""A large node: what a meta.db of more than 64 MB holds, and one transaction in it."""

from __future__ import annotations

from pathlib import Path

from tests.containerd.build import Store, chain

LAYERS = 5


def large_node(root: Path, *, images: int = 900, pods: int = 1600, files: bool = False) -> Store:
    """Make a node with images of five layers each and a container in each pod; with ``files``, its directories too."""
    store = Store(root)
    store.files = files
    annotations = {f"io.kubernetes.cri.filler-{number}": "x" * 200 for number in range(36)}
    for image in range(images):
        layers = [chain(f"{image}/{layer}") for layer in range(LAYERS)]
        for number, layer in enumerate(layers):
            store.snapshot(layer, layers[number - 1] if number else None)
        store.image(f"registry.example.com/team/app:{image}", layers)
    for pod in range(pods):
        image = pod % images
        labels = {"io.kubernetes.pod.name": f"app-{pod}", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": f"u{pod}"}
        top = chain(f"{image}/{LAYERS - 1}")
        store.container(f"pod{pod}", f"registry.example.com/team/app:{image}", top, labels=labels, annotations=annotations)
    return store.commit()


def one_transaction(store: Store, turn: int) -> None:
    """Take a lease on a layer and label another one, as a pull does."""
    store.lease(f"pull-{turn}", {"snapshots/overlayfs": [chain("5/3")]})
    store.place("k8s.io", "snapshots", "overlayfs", chain("7/2"), "labels").put(b"containerd.io/gc.root", b"%d" % turn)
    store.meta.commit()
