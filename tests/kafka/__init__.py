"""Against a real Apache Kafka: shipper, processor, topics, and every fault they must survive."""

from __future__ import annotations
