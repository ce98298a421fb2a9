"""What a call to a model took and said, recorded without asking: times, tokens, steps, streams.

Each noun has its file. The clients inherit `methods.py`; nothing here knows a client but by a Protocol
(`sinks.py`), and nothing touches the engine or imports a provider's package. A failure in here is counted
(`tracking_errors`) and logged: it never reaches the application, and never costs it a result.
"""
