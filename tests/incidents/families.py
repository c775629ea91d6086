"""Every module with replays, so that importing this one fills the registry."""

from __future__ import annotations

from tests.incidents import chains, containerd, contents, docker, filling, leaks, links, links_docker, mounted

__all__ = ["chains", "containerd", "contents", "docker", "filling", "leaks", "links", "links_docker", "mounted"]
