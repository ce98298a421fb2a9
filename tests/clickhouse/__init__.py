"""The backend on ClickHouse: other stores' suites over an embedded one, in an environment of their own."""
