"""OTLP on the wire: requests in protobuf and JSON become plain values; responses are the standard's.

Nothing here knows what an attribute means (`spans/`), who calls (`api/`) or where spans are kept (`store/`).
"""
