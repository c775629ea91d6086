"""Ships the sealed batches of a spool to Kafka, in order, and tells the spool what is durable there."""

from __future__ import annotations

from collector.ship.shipper import ShipperStatus, Shipping, start_shipping

__all__ = ["ShipperStatus", "Shipping", "start_shipping"]
