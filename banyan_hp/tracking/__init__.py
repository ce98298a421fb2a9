"""A call to a model, its answer, times, tokens, steps and streams, recorded as they happen.

The parts and how they fit, from the bottom up:

- `reading/` reads questions and responses by their shape; it knows nothing of the rest.
- `scopes` knows which metadata and which span surround the running code; `context` sets metadata.
- `sink` is what a span needs of the client that logs it; `client_sinks` makes the two clients' records.
- `span` is something that takes time and ends once; `interaction` has the two kinds that users see.
- `runs` are spans that a framework's callbacks open and end.
- `generators` and `taps` record what comes bit by bit, and end its span.
- `trace` records functions; `wrappers` the clients of `openai` and `anthropic` (`calls`: which requests;
  `media`: those whose responses are no text), `likenesses` objects that look like them, and `resources` the
  clients of `google-genai` and `mistralai`.
- `methods` has what the clients inherit of all this.

Nothing here touches the engine or imports a provider's package. A failure in here is counted
(`tracking_errors`) and logged: it never reaches the application, and never costs it a result. Underscored
names of a `Span` are this package's own.
"""
