"""Apache Spark with its Delta package: a reader of the lake that shares no code with linktrail or with the Delta library it uses."""
