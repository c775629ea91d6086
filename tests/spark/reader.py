"""One Apache Spark in a process of its own, which reads Delta tables and hands them over as Parquet.

Driven through py4j, which Spark itself brings along, so that no Java compiler and no PySpark (400 MB) is needed. One
thread, no web page, loopback only; the process ends with ``close``, or with the test's own process.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.java_gateway import JavaGateway

from tests.maven import jars

_POM: Final = Path(__file__).with_name("pom.xml")
_OPEN: Final = (
    *(f"java.base/java.{name}" for name in ("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util", "util.concurrent")),
    *(f"java.base/sun.{name}" for name in ("nio.ch", "nio.cs", "security.action", "util.calendar")),
)  # as Spark's own start script has it for Java 17 (org.apache.spark.launcher.JavaModuleOptions)
_JAVA: Final = (
    *("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true"),
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPEN),
)
_SETTINGS: Final = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}
_END_SECONDS: Final = 30


def classpath() -> str:
    """Return the class path of Spark, resolving it first where needed. Raises ``UnavailableError``."""
    return jars(_POM, "Apache Spark")


class Spark:
    """A running Spark; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """Start Spark, which writes below ``directory`` alone. Raises ``UnavailableError``, and ``Py4JError`` when it cannot be started."""
        options = [*_JAVA, f"-Djava.io.tmpdir={directory}", f"-Duser.dir={directory}"]
        self._directory = directory
        self._read = 0
        self._gateway = JavaGateway.launch_gateway(classpath=classpath(), javaopts=options, die_on_exit=True, enable_auth=True)
        builder = self._gateway.jvm.org.apache.spark.sql.SparkSession.builder().master("local[1]")
        for name, value in {**_SETTINGS, "spark.local.dir": str(directory), "spark.sql.warehouse.dir": str(directory)}.items():
            builder = builder.config(name, value)
        self._session: Any = builder.getOrCreate()

    def rows(self, table: Path) -> pa.Table:
        """Return all rows and columns of the Delta table at ``table``."""
        self._read += 1
        answer = self._directory / f"answer-{self._read}"
        self._session.read().format("delta").load(str(table)).coalesce(1).write().parquet(str(answer))
        return pq.read_table(answer)

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        process: subprocess.Popen[bytes] = self._gateway.java_process
        self._gateway.shutdown()
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self.close()
